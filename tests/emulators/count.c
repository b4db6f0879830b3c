/* A plugin of QEMU: counts the instructions that are executed between two addresses.
 *
 *   qemu-system-arm ... -plugin count.so,from=0x1234,to=0x5678 -d plugin
 *
 * prints "instructions N": those from the last execution of the one at `from` until that at `to` was next reached, or
 * all without these options. The declarations are those of version 1 of QEMU's plugin interface, whose header few systems install.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef void (*translate_callback)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*execute_callback)(unsigned, void *);
typedef void (*exit_callback)(qemu_plugin_id_t, void *);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translate_callback);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, exit_callback, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, execute_callback, int flags, void *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int op, void *, uint64_t);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
void qemu_plugin_outs(const char *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t executed, started, counted, from, to;

static void begin(unsigned cpu, void *data) { started = executed; }

static void end(unsigned cpu, void *data) { counted = executed - started; }

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
    struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
    uint64_t address = qemu_plugin_insn_vaddr(instruction);
    if (address == from) qemu_plugin_register_vcpu_insn_exec_cb(instruction, begin, 0, NULL);
    if (address == to) qemu_plugin_register_vcpu_insn_exec_cb(instruction, end, 0, NULL);
    qemu_plugin_register_vcpu_insn_exec_inline(instruction, 0, &executed, 1);
  }
}

static void report(qemu_plugin_id_t id, void *data) {
  char line[64];
  snprintf(line, sizeof line, "instructions %llu\n", (unsigned long long)(from ? counted : executed));
  qemu_plugin_outs(line);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int count,
                                                               char **arguments) {
  for (int i = 0; i < count; i++) {
    if (!strncmp(arguments[i], "from=", 5)) from = strtoull(arguments[i] + 5, NULL, 0);
    if (!strncmp(arguments[i], "to=", 3)) to = strtoull(arguments[i] + 3, NULL, 0);
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
  qemu_plugin_register_atexit_cb(id, report, NULL);
  return 0;
}
