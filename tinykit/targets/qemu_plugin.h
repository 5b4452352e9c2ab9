/* What the counting plugins need of QEMU's plugin interface, declared here so that neither its
 * header nor glib is needed: interface 1 (QEMU 6.0 to 8.x), or with -DAPI=4 interface 4 (QEMU 9.0
 * and later). */
#ifndef TINYKIT_QEMU_PLUGIN_H
#define TINYKIT_QEMU_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#define PUBLIC __attribute__((visibility("default")))

typedef uint64_t plugin_id;
typedef struct qemu_plugin_tb block;
typedef struct qemu_plugin_insn instruction;

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, block *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(block *, void (*)(unsigned, void *), int flags,
                                                 void *);
extern void qemu_plugin_register_vcpu_insn_exec_cb(instruction *, void (*)(unsigned, void *),
                                                   int flags, void *);
extern size_t qemu_plugin_tb_n_insns(const block *);
extern instruction *qemu_plugin_tb_get_insn(const block *, size_t);
extern uint64_t qemu_plugin_insn_vaddr(const instruction *);
extern size_t qemu_plugin_insn_size(const instruction *);

#ifndef API
#define API 1
#endif
PUBLIC int qemu_plugin_version = API;

#endif
