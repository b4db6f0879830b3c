; What networks for several threads share: their C interface, worker threads and how they share out the work.
;
; `program.py` replaces the words in double braces and puts the network's `@netc.sequence(ctx, tid, nthreads)` beside
; this text. Documented for callers in `netc.h`. Holds no address of its own. Of its surroundings it needs only threads,
; a mutex and a condition variable: libc and pthread where there are processes, and `futex.ll` in WebAssembly.
;
; All threads walk the same sequence of rounds: a segment of calls, or a meeting. Of a segment each thread does its own
; share, unless another has begun it: who is done looks for shares that nobody has begun. So a thread that has no
; processor holds up the others only with a share that it is amid, and finds the rounds over when it comes. At a meeting
; all threads must come. `finished` counts the shares that are done and the threads that came to meetings, both
; `nthreads` in a round: a round is over when it has reached `nthreads` times the round's number, for all time.
;
; A waiting thread spins for a bounded time, then sleeps on one condition variable. Where spinning has been in vain it
; spins less the next time; where threads outnumber processors (`crowded`), it sleeps at once, as those it waits for
; need its processor. Whoever changes a word that others wait for does so with a sequentially consistent operation and
; then reads `sleepers`; whoever goes to sleep raises `sleepers` and then reads the word again. So at least one of the
; two sees the other, and no wake-up is lost.

%context = type {
  ptr,          ;  0 arena
  ptr,          ;  1 weights
  ptr,          ;  2 buffers: inputs, then outputs
  i64,          ;  3 threads
  ptr,          ;  4 profile, or null
  ptr,          ;  5 notify, or null
  ptr,          ;  6 workers: one %worker for each thread; null unless they run
  i64,          ;  7 crowded: not 0 if there are more threads than processors
  i64,          ;  8 job: number of runs that were started
  [7 x i64],
  i64,          ; 10 finished
  [7 x i64],
  i64,          ; 12 sleepers
  i64,          ; 13 stopping
  [14 x i64],
  [16 x i64],   ; 15 mutex
  [16 x i64]    ; 16 condition variable
}
%worker = type {
  ptr,          ; 0 context
  i64,          ; 1 thread number
  i64,          ; 2 pthread_t
  i64,          ; 3 round: number of rounds that this thread has begun
  i64,          ; 4 patience: turns that it spins
  [11 x i64],
  i64,          ; 6 claimed: number of the last round in which its share was begun
  [15 x i64]
}

{{system}}
; Return once *word has reached `target`; whether the thread slept.
define internal i1 @netc.wait(ptr %ctx, ptr %word, i64 %target, i64 %patience) noinline nounwind {
entry:
  %place = getelementptr %context, ptr %ctx, i64 0, i32 7
  %crowded = load i64, ptr %place, align 8
  %calm = icmp eq i64 %crowded, 0
  %spins = select i1 %calm, i64 %patience, i64 1
  br label %spin
spin:
  %count = phi i64 [ 0, %entry ], [ %next, %again ]
  %seen = load atomic i64, ptr %word acquire, align 8
  %reached = icmp uge i64 %seen, %target
  br i1 %reached, label %done, label %again
again:
  {{pause}}
  %next = add i64 %count, 1
  %more = icmp ult i64 %next, %spins
  br i1 %more, label %spin, label %sleep
sleep:
  %sleepers = getelementptr %context, ptr %ctx, i64 0, i32 12
  %mutex = getelementptr %context, ptr %ctx, i64 0, i32 15
  %condition = getelementptr %context, ptr %ctx, i64 0, i32 16
  %locked = call i32 @pthread_mutex_lock(ptr %mutex)
  %before = atomicrmw add ptr %sleepers, i64 1 seq_cst
  br label %check
check:
  %now = load atomic i64, ptr %word seq_cst, align 8
  %enough = icmp uge i64 %now, %target
  br i1 %enough, label %wake, label %block
block:
  %woken = call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
  br label %check
wake:
  %after = atomicrmw sub ptr %sleepers, i64 1 seq_cst
  %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
  ret i1 true
done:
  ret i1 false
}

; Wake those who sleep; the word that they wait for was changed before.
define internal void @netc.wake(ptr %ctx) noinline nounwind {
entry:
  %sleepers = getelementptr %context, ptr %ctx, i64 0, i32 12
  %asleep = load atomic i64, ptr %sleepers seq_cst, align 8
  %any = icmp ne i64 %asleep, 0
  br i1 %any, label %wake, label %done
wake:
  %mutex = getelementptr %context, ptr %ctx, i64 0, i32 15
  %condition = getelementptr %context, ptr %ctx, i64 0, i32 16
  %locked = call i32 @pthread_mutex_lock(ptr %mutex)
  %sent = call i32 @pthread_cond_broadcast(ptr %condition)
  %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %done
done:
  ret void
}

; Return once a round is over; who has slept is less patient the next time.
define internal void @netc.await(ptr %ctx, ptr %self, i64 %target) noinline nounwind {
entry:
  %finished = getelementptr %context, ptr %ctx, i64 0, i32 10
  %place = getelementptr %worker, ptr %self, i64 0, i32 4
  %patience = load i64, ptr %place, align 8
  %slept = call i1 @netc.wait(ptr %ctx, ptr %finished, i64 %target, i64 %patience)
  %less = lshr i64 %patience, 2
  %more = shl i64 %patience, 1
  %wanted = select i1 %slept, i64 %less, i64 %more
  %much = icmp ugt i64 %wanted, {{spins}}
  %bounded = select i1 %much, i64 {{spins}}, i64 %wanted
  %little = icmp ult i64 %bounded, {{glances}}
  %next = select i1 %little, i64 {{glances}}, i64 %bounded
  store i64 %next, ptr %place, align 8
  ret void
}

; Begin a thread's share of a round; false if that was done before.
define internal i1 @netc.claim(ptr %worker, i64 %round) noinline nounwind {
entry:
  %place = getelementptr %worker, ptr %worker, i64 0, i32 6
  %last = load atomic i64, ptr %place monotonic, align 8
  %free = icmp ult i64 %last, %round
  br i1 %free, label %try, label %taken
try:
  %pair = cmpxchg ptr %place, i64 %last, i64 %round acq_rel monotonic
  %won = extractvalue { i64, i1 } %pair, 1
  ret i1 %won
taken:
  ret i1 false
}

; The thread begins another round.
define internal i64 @netc.next_round(ptr %self) noinline nounwind {
entry:
  %place = getelementptr %worker, ptr %self, i64 0, i32 3
  %before = load i64, ptr %place, align 8
  %round = add i64 %before, 1
  store i64 %round, ptr %place, align 8
  ret i64 %round
}

; The next share of a segment that this thread does, by the number of the thread whose share it is; -1 once all are
; done. `previous` is the share that it has just done, at first -1.
define internal i64 @netc.take(ptr %ctx, i64 %tid, i64 %nthreads, i64 %previous) noinline nounwind {
entry:
  %first = icmp slt i64 %previous, 0
  %alone = icmp eq i64 %nthreads, 1
  br i1 %alone, label %single, label %several
single:
  %answer = select i1 %first, i64 0, i64 -1
  ret i64 %answer
several:
  %workers = getelementptr %context, ptr %ctx, i64 0, i32 6
  %all = load ptr, ptr %workers, align 8
  %self = getelementptr %worker, ptr %all, i64 %tid
  %finished = getelementptr %context, ptr %ctx, i64 0, i32 10
  br i1 %first, label %begin, label %end
begin:
  %begun = call i64 @netc.next_round(ptr %self)
  %until = mul i64 %begun, %nthreads
  %already = load atomic i64, ptr %finished acquire, align 8
  %late = icmp uge i64 %already, %until
  br i1 %late, label %over, label %own
own:
  %mine = call i1 @netc.claim(ptr %self, i64 %begun)
  br i1 %mine, label %give, label %watch
give:
  ret i64 %tid
end:
  %place = getelementptr %worker, ptr %self, i64 0, i32 3
  %current = load i64, ptr %place, align 8
  %whole = mul i64 %current, %nthreads
  %before = atomicrmw add ptr %finished, i64 1 seq_cst
  %count = add i64 %before, 1
  %last = icmp eq i64 %count, %whole
  br i1 %last, label %tell, label %watch
tell:
  call void @netc.wake(ptr %ctx)
  br label %over
watch:
  %round = phi i64 [ %begun, %own ], [ %current, %end ]
  %target = mul i64 %round, %nthreads
  br label %glance
glance:
  %glances = phi i64 [ 0, %watch ], [ %glanced, %again ]
  %seen = load atomic i64, ptr %finished acquire, align 8
  %reached = icmp uge i64 %seen, %target
  br i1 %reached, label %over, label %again
again:
  {{pause}}
  %glanced = add i64 %glances, 1
  %more = icmp ult i64 %glanced, {{glances}}
  br i1 %more, label %glance, label %search
search:
  %distance = phi i64 [ 1, %again ], [ %farther, %missed ]
  %searching = icmp ult i64 %distance, %nthreads
  br i1 %searching, label %look, label %await
look:
  %sum = add i64 %tid, %distance
  %other = urem i64 %sum, %nthreads
  %owner = getelementptr %worker, ptr %all, i64 %other
  %won = call i1 @netc.claim(ptr %owner, i64 %round)
  br i1 %won, label %help, label %missed
missed:
  %farther = add i64 %distance, 1
  br label %search
help:
  ret i64 %other
await:
  call void @netc.await(ptr %ctx, ptr %self, i64 %target)
  br label %over
over:
  ret i64 -1
}

; Return once all threads have called this.
define internal void @netc.meet(ptr %ctx, i64 %tid, i64 %nthreads) noinline nounwind {
entry:
  %alone = icmp eq i64 %nthreads, 1
  br i1 %alone, label %done, label %arrive
arrive:
  %workers = getelementptr %context, ptr %ctx, i64 0, i32 6
  %all = load ptr, ptr %workers, align 8
  %self = getelementptr %worker, ptr %all, i64 %tid
  %round = call i64 @netc.next_round(ptr %self)
  %target = mul i64 %round, %nthreads
  %finished = getelementptr %context, ptr %ctx, i64 0, i32 10
  %before = atomicrmw add ptr %finished, i64 1 seq_cst
  %count = add i64 %before, 1
  %last = icmp eq i64 %count, %target
  br i1 %last, label %tell, label %wait
tell:
  call void @netc.wake(ptr %ctx)
  br label %done
wait:
  call void @netc.await(ptr %ctx, ptr %self, i64 %target)
  br label %done
done:
  ret void
}

define internal ptr @netc.work(ptr %worker) nounwind {
entry:
  %ctx = load ptr, ptr %worker, align 8
  %number = getelementptr %worker, ptr %worker, i64 0, i32 1
  %tid = load i64, ptr %number, align 8
  %threads = getelementptr %context, ptr %ctx, i64 0, i32 3
  %nthreads = load i64, ptr %threads, align 8
  %job = getelementptr %context, ptr %ctx, i64 0, i32 8
  %stopping = getelementptr %context, ptr %ctx, i64 0, i32 13
  br label %next
next:
  %done = phi i64 [ 0, %entry ], [ %following, %run ]
  %following = add i64 %done, 1
  %slept = call i1 @netc.wait(ptr %ctx, ptr %job, i64 %following, i64 {{spins}})
  %stop = load atomic i64, ptr %stopping acquire, align 8
  %quit = icmp ne i64 %stop, 0
  br i1 %quit, label %exit, label %run
run:
  call void @netc.sequence(ptr %ctx, i64 %tid, i64 %nthreads)
  br label %next
exit:
  ret ptr null
}

; Count the runs that were started up, and tell the workers.
define internal void @netc.post(ptr %ctx) noinline nounwind {
entry:
  %job = getelementptr %context, ptr %ctx, i64 0, i32 8
  %before = atomicrmw add ptr %job, i64 1 seq_cst
  call void @netc.wake(ptr %ctx)
  ret void
}

; Stop and join the workers numbered below `count`, and give back what `start` took.
define internal void @netc.join(ptr %ctx, i64 %count) noinline nounwind {
entry:
  %stopping = getelementptr %context, ptr %ctx, i64 0, i32 13
  %workers = getelementptr %context, ptr %ctx, i64 0, i32 6
  %all = load ptr, ptr %workers, align 8
  store atomic i64 1, ptr %stopping seq_cst, align 8
  call void @netc.post(ptr %ctx)
  br label %test
test:
  %i = phi i64 [ 1, %entry ], [ %next, %join ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %join, label %free
join:
  %handle = getelementptr %worker, ptr %all, i64 %i, i32 2
  %thread = load i64, ptr %handle, align 8
  %status = call i32 @pthread_join(i64 %thread, ptr null)
  %next = add i64 %i, 1
  br label %test
free:
  {{give_workers}}
  store ptr null, ptr %workers, align 8
  %mutex = getelementptr %context, ptr %ctx, i64 0, i32 15
  %condition = getelementptr %context, ptr %ctx, i64 0, i32 16
  %a = call i32 @pthread_cond_destroy(ptr %condition)
  %b = call i32 @pthread_mutex_destroy(ptr %mutex)
  ret void
}

define {{linkage}} i32 @{{prefix}}_start(ptr %ctx) nounwind {
entry:
  %threads = getelementptr %context, ptr %ctx, i64 0, i32 3
  %nthreads = load i64, ptr %threads, align 8
  %workers = getelementptr %context, ptr %ctx, i64 0, i32 6
  %running = load ptr, ptr %workers, align 8
  %started = icmp ne ptr %running, null
  %alone = icmp slt i64 %nthreads, 2
  %done = or i1 %started, %alone
  br i1 %done, label %ready, label %prepare
prepare:
  %job = getelementptr %context, ptr %ctx, i64 0, i32 8
  %finished = getelementptr %context, ptr %ctx, i64 0, i32 10
  %sleepers = getelementptr %context, ptr %ctx, i64 0, i32 12
  %stopping = getelementptr %context, ptr %ctx, i64 0, i32 13
  %mutex = getelementptr %context, ptr %ctx, i64 0, i32 15
  %condition = getelementptr %context, ptr %ctx, i64 0, i32 16
  store i64 0, ptr %job, align 8
  store i64 0, ptr %finished, align 8
  store i64 0, ptr %sleepers, align 8
  store i64 0, ptr %stopping, align 8
  {{take_workers}}
  store ptr %all, ptr %workers, align 8
  %missing = icmp eq ptr %all, null
  br i1 %missing, label %memory, label %init
init:
  %a = call i32 @pthread_mutex_init(ptr %mutex, ptr null)
  %b = call i32 @pthread_cond_init(ptr %condition, ptr null)
  br label %test
test:
  %i = phi i64 [ 0, %init ], [ %number, %created ]
  %more = icmp slt i64 %i, %nthreads
  br i1 %more, label %describe, label %ready
describe:
  %number = add i64 %i, 1
  %worker = getelementptr %worker, ptr %all, i64 %i
  %place = getelementptr %worker, ptr %worker, i64 0, i32 1
  %handle = getelementptr %worker, ptr %worker, i64 0, i32 2
  %patience = getelementptr %worker, ptr %worker, i64 0, i32 4
  store ptr %ctx, ptr %worker, align 8
  store i64 %i, ptr %place, align 8
  store i64 {{spins}}, ptr %patience, align 8
  %caller = icmp eq i64 %i, 0
  br i1 %caller, label %created, label %create
create:
  {{create_worker}}
  %failed = icmp ne i32 %status, 0
  br i1 %failed, label %undo, label %created
created:
  br label %test
undo:
  call void @netc.join(ptr %ctx, i64 %i)
  ret i32 %status
memory:
  ret i32 12
ready:
  ret i32 0
}

define {{linkage}} void @{{prefix}}_run(ptr %ctx) nounwind {
entry:
  %threads = getelementptr %context, ptr %ctx, i64 0, i32 3
  %nthreads = load i64, ptr %threads, align 8
  %alone = icmp eq i64 %nthreads, 1
  br i1 %alone, label %run, label %post
post:
  call void @netc.post(ptr %ctx)
  br label %run
run:
  call void @netc.sequence(ptr %ctx, i64 0, i64 %nthreads)
  ret void
}

define {{linkage}} void @{{prefix}}_stop(ptr %ctx) nounwind {
entry:
  %threads = getelementptr %context, ptr %ctx, i64 0, i32 3
  %nthreads = load i64, ptr %threads, align 8
  %workers = getelementptr %context, ptr %ctx, i64 0, i32 6
  %all = load ptr, ptr %workers, align 8
  %idle = icmp eq ptr %all, null
  br i1 %idle, label %done, label %join
join:
  call void @netc.join(ptr %ctx, i64 %nthreads)
  br label %done
done:
  ret void
}
