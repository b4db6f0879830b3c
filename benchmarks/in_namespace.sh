#!/bin/sh
# in_namespace.sh HOST COMMAND...: run a command in the network namespace HOST, with that host name; takes ssh's place.
while [ "${1#-}" != "$1" ]; do shift; done
host=$1
shift
exec ip netns exec "$host" unshare --uts sh -c "hostname $host && exec $*"
