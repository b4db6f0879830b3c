/* Runs a library once on a machine without an operating system: input.bin goes in, output.bin comes out.
 *
 * Files are the host's, by semihosting (Arm IHI 0078). tensors.h has the arrays. The stack is painted before the run, so
 * that the bytes which the run touched can be counted.
 */
#include <stddef.h>
#include <stdint.h>

#include "memory.h"
#include "tensors.h"

enum { SYS_OPEN = 1, SYS_WRITE0 = 4, SYS_WRITE = 5, SYS_READ = 6, SYS_EXIT = 32 };

int NETC_RUN(void *workspace, const void *const *inputs, void *const *outputs);
#ifdef NETC_RESET
int NETC_RESET(void *workspace);
#endif

#ifdef __riscv
#define COPY "mv"
#else
#define COPY "mov"
#endif

extern uint32_t stack_top[];

static uintptr_t call_host(uintptr_t operation, const void *arguments) {
#ifdef __riscv
  register uintptr_t number __asm__("a0") = operation;
  register const void *block __asm__("a1") = arguments;
  __asm__ volatile(
      ".option push\n.option norvc\n.balign 16\nslli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
      : "+r"(number)
      : "r"(block)
      : "memory");
  return number;
#else
  register uintptr_t number __asm__("r0") = operation;
  register const void *block __asm__("r1") = arguments;
  __asm__ volatile("bkpt 0xab" : "+r"(number) : "r"(block) : "memory");
  return number;
#endif
}

static uintptr_t open_file(const char *name, size_t length, uintptr_t mode) {
  uintptr_t block[] = {(uintptr_t)name, mode, length};
  return call_host(SYS_OPEN, block);
}

static uintptr_t move(uintptr_t operation, uintptr_t file, const void *data, size_t bytes) {
  uintptr_t block[] = {file, (uintptr_t)data, bytes};
  return call_host(operation, block);
}

static void finish(uintptr_t status) {
  uintptr_t block[] = {0x20026, status};
  call_host(SYS_EXIT, block);
  for (;;) {
  }
}

__attribute__((noinline)) void measure_begin(void) { __asm__ volatile("" ::: "memory"); }

__attribute__((noinline)) void measure_end(void) { __asm__ volatile("" ::: "memory"); }

__attribute__((noinline)) static int measured_run(uint32_t *depth) {
  uint32_t *bottom;
  __asm__ volatile(COPY " %0, sp" : "=r"(bottom));
  for (int i = 1; i <= PAINTED / 4; i++) ((volatile uint32_t *)bottom)[-i] = 0x5AA5C33C;
  measure_begin();
  int status = NETC_RUN(workspace, inputs, outputs);
  measure_end();
  int words = PAINTED / 4;
  while (words > 0 && ((volatile uint32_t *)bottom)[-words] == 0x5AA5C33C) words--;
  *depth = (uint32_t)words * 4;
  return status;
}

void run(void) {
  uint32_t depth;
  for (size_t i = 0; i < sizeof workspace; i++) workspace[i] = 0xA5;
  uintptr_t file = open_file("input.bin", 9, 1);
  for (int i = 0; i < INPUTS; i++) {
    if (move(SYS_READ, file, inputs[i], input_bytes[i])) finish(101);
  }
#ifdef NETC_RESET
  if (NETC_RESET(workspace)) finish(104);
#endif
  int status = measured_run(&depth);
  if (status) finish((uintptr_t)status);
  file = open_file("output.bin", 10, 5);
  for (int i = 0; i < OUTPUTS; i++) {
    if (move(SYS_WRITE, file, outputs[i], output_bytes[i])) finish(102);
  }
  move(SYS_WRITE, file, &depth, sizeof depth);
  finish(0);
}

#ifdef __riscv
__attribute__((naked, section(".vectors"), used)) void start(void) {
  __asm__ volatile("la sp, stack_top\n li t0, 0x6600\n csrs mstatus, t0\n j run"); /* floats and vectors */
}
#else
static void fault(void) { finish(103); }

void start(void) {
  *(volatile uint32_t *)0xE000ED88 = 0xFu << 20; /* CPACR: floats and Helium */
  *(volatile uint32_t *)0xE000ED14 &= ~(1u << 3); /* CCR: words may lie anywhere, where the processor can do that */
  __asm__ volatile("dsb\n isb");
  run();
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (const void *)start, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, (const void *)fault};
#endif
