/* Runs a library in a process of Linux without a C library: weights and inputs come from stdin, outputs go to stdout.
 *
 * tensors.h has the arrays. The exit status is that of the library, or 100 and more.
 */
#include <stddef.h>
#include <stdint.h>

#include "memory.h"
#include "net.h"
#include "tensors.h"

#define SYSTEM_CALL(INSTRUCTION, NUMBER, FIRST, SECOND, THIRD)                                            \
  static long system_call(long number, long a, long b, long c) {                                          \
    register long called __asm__(NUMBER) = number;                                                        \
    register long first __asm__(FIRST) = a;                                                               \
    register long second __asm__(SECOND) = b;                                                             \
    register long third __asm__(THIRD) = c;                                                               \
    __asm__ volatile(INSTRUCTION : "+r"(first) : "r"(called), "r"(second), "r"(third) : "memory");        \
    return first;                                                                                         \
  }

#if defined(__aarch64__)
enum { READ = 63, WRITE = 64, EXIT = 94 };
SYSTEM_CALL("svc 0", "x8", "x0", "x1", "x2")
#elif defined(__arm__)
enum { READ = 3, WRITE = 4, EXIT = 248 };
SYSTEM_CALL("svc 0", "r7", "r0", "r1", "r2")
#elif defined(__riscv)
enum { READ = 63, WRITE = 64, EXIT = 94 };
SYSTEM_CALL("ecall", "a7", "a0", "a1", "a2")
#elif defined(__x86_64__)
enum { READ = 0, WRITE = 1, EXIT = 231 };
static long system_call(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}
#endif

static void leave(long status) {
  for (;;) system_call(EXIT, status, 0, 0);
}

static void move(long number, void *data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const long moved = system_call(number, number == WRITE, (long)((uint8_t *)data + done), (long)(bytes - done));
    if (moved <= 0) leave(100);
    done += (size_t)moved;
  }
}

static void check(net_status status) {
  if (status != NET_OK) leave(status);
}

__attribute__((used, noreturn, visibility("default"))) void begin(void) {
  for (size_t i = 0; i < sizeof workspace; i++) workspace[i] = 0xA5;
#ifdef NET_WEIGHTS_ALIGNMENT
  move(READ, weights, sizeof weights);
  check(net_bind(workspace, weights, sizeof weights));
#endif
#ifdef NET_STATE_BYTES
  check(net_reset(workspace));
#endif
  for (size_t i = 0; i < INPUTS; i++) move(READ, input_data[i], input_bytes[i]);
  for (int i = 0; i < RUNS; i++) check(NET_RUN(workspace, &inputs, &outputs));
  for (size_t i = 0; i < OUTPUTS; i++) move(WRITE, output_data[i], output_bytes[i]);
#ifdef NET_SELFTEST_BYTES
  check(net_selftest(workspace, buffers));
#endif
  leave(0);
  for (;;) {
  }
}

/* The stack that a process begins with is aligned. */
#if defined(__aarch64__)
__asm__(".globl _start\n_start: mov x29, #0\n bl begin");
#elif defined(__arm__)
__asm__(".arm\n.globl _start\n_start: mov r11, #0\n bl begin");
#elif defined(__riscv)
__asm__(".globl _start\n_start: call begin");
#elif defined(__x86_64__)
__asm__(".globl _start\n_start: xor %rbp, %rbp\n call begin");
#endif
