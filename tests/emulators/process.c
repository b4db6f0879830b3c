/* Runs a library in a process of Linux without a C library: weights and inputs come from stdin, outputs go to stdout.
 *
 * tensors.h has the arrays. The exit status is that of the library, or 100 and more.
 */
#include <stddef.h>
#include <stdint.h>

#include "net.h"
#include "tensors.h"

#if defined(__aarch64__)
enum { READ = 63, WRITE = 64, EXIT = 94 };
static long system_call(long number, long a, long b, long c) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
  return x0;
}
#elif defined(__arm__)
enum { READ = 3, WRITE = 4, EXIT = 248 };
static long system_call(long number, long a, long b, long c) {
  register long r7 __asm__("r7") = number;
  register long r0 __asm__("r0") = a;
  register long r1 __asm__("r1") = b;
  register long r2 __asm__("r2") = c;
  __asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2) : "memory");
  return r0;
}
#elif defined(__riscv)
enum { READ = 63, WRITE = 64, EXIT = 94 };
static long system_call(long number, long a, long b, long c) {
  register long a7 __asm__("a7") = number;
  register long a0 __asm__("a0") = a;
  register long a1 __asm__("a1") = b;
  register long a2 __asm__("a2") = c;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2) : "memory");
  return a0;
}
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

/* What compilers may call. */
void *memcpy(void *to, const void *from, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) ((volatile uint8_t *)to)[i] = ((const uint8_t *)from)[i];
  return to;
}

void *memset(void *to, int value, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) ((volatile uint8_t *)to)[i] = (uint8_t)value;
  return to;
}
