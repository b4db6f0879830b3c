/* The C interface of a network that netc compiled: one object, no Python, only libc and pthread.
 *
 *   struct netc_context c = {0};
 *   c.arena = aligned_alloc(64, netc_arena_bytes);       // scratch memory, contents kept between runs, zero at first
 *   c.weights = weights;                                 // netc_weights_bytes, 64-byte aligned, as netc wrote them
 *   c.buffers = (void *[]){image, scores};               // inputs, then outputs: dense row-major arrays; then
 *                                                        // the state, for programs that change their parameters
 *   c.threads = 2;
 *   if (netc_start(&c)) abort();
 *   netc_run(&c);                                        // as often as you like
 *   netc_stop(&c);
 *
 * One context serves one run at a time; several contexts may share the weights. `threads`, `arena` and `weights` must
 * stay as they are between start and stop; `buffers`, `profile` and `notify` may change from run to run.
 */
#ifndef NETC_H
#define NETC_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct netc_context {
  uint8_t *arena;
  const uint8_t *weights;
  void **buffers;
  int64_t threads;  /* at least 1, the caller's own included */
  int64_t *profile; /* NULL, or room for one time stamp in nanoseconds before the first kernel and one after each */
  void (*notify)(struct netc_context *context, int64_t number); /* NULL, or called by netc_run, on the caller's thread,
                                                                   when outputs of a program that announces them are final */
  uint64_t internal[66]; /* worker threads and their synchronisation: zero at first, then not yours to touch */
};

extern const int64_t netc_arena_bytes;
extern const int64_t netc_weights_bytes;

int netc_start(struct netc_context *context); /* creates threads - 1 workers unless they run; 0, or an errno value */
void netc_run(struct netc_context *context);  /* computes the whole network once */
void netc_stop(struct netc_context *context); /* ends the workers */

#ifdef __cplusplus
}
#endif

#endif
