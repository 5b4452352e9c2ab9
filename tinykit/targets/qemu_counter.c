/* TCG plugin for QEMU: exact count of instructions from the one at `begin` to the one at `end`.
 *
 *     -plugin counter.so,begin=ADDRESS,end=ADDRESS,out=FILE
 *
 * Each time `end` is reached, the count since `begin` is appended to FILE, a line each. */
#include "qemu_plugin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if API >= 4
typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} per_vcpu;
extern struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t);
extern void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction *, int operation,
                                                                per_vcpu, uint64_t);
extern uint64_t qemu_plugin_u64_sum(per_vcpu);

static per_vcpu executed;

static void prepare(void) {
    executed.score = qemu_plugin_scoreboard_new(sizeof(uint64_t));
}

static void count(instruction *one) {
    qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(one, 0, executed, 1);
}

static uint64_t total(void) {
    return qemu_plugin_u64_sum(executed);
}
#else
extern void qemu_plugin_register_vcpu_insn_exec_inline(instruction *, int operation, void *,
                                                       uint64_t);

static uint64_t executed;

static void prepare(void) {
}

static void count(instruction *one) {
    qemu_plugin_register_vcpu_insn_exec_inline(one, 0, &executed, 1);
}

static uint64_t total(void) {
    return executed;
}
#endif

static uint64_t begin_address, end_address, began;
static FILE *out;

static void on_begin(unsigned cpu, void *unused) {
    (void)cpu;
    (void)unused;
    began = total();
}

static void on_end(unsigned cpu, void *unused) {
    (void)cpu;
    (void)unused;
    fprintf(out, "%" PRIu64 "\n", total() - began);
    fflush(out);
}

static void on_translate(plugin_id id, block *translated) {
    (void)id;
    for (size_t i = 0, n = qemu_plugin_tb_n_insns(translated); i < n; i++) {
        instruction *one = qemu_plugin_tb_get_insn(translated, i);
        uint64_t address = qemu_plugin_insn_vaddr(one);
        if (address == begin_address) {
            qemu_plugin_register_vcpu_insn_exec_cb(one, on_begin, 0, NULL);
        } else if (address == end_address) {
            qemu_plugin_register_vcpu_insn_exec_cb(one, on_end, 0, NULL);
        }
        count(one);
    }
}

PUBLIC int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "begin=", 6)) {
            begin_address = strtoull(argv[i] + 6, NULL, 0);
        } else if (!strncmp(argv[i], "end=", 4)) {
            end_address = strtoull(argv[i] + 4, NULL, 0);
        } else if (!strncmp(argv[i], "out=", 4)) {
            out = fopen(argv[i] + 4, "w");
        }
    }
    if (out == NULL) {
        fprintf(stderr, "the counting plugin cannot write its file\n");
        return 1;
    }
    prepare();
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    return 0;
}
