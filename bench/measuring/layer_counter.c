/* TCG plugin for QEMU: how often each block of code runs, by the layer on whose behalf.
 *
 *     -plugin layer_counter.so,begin=ADDRESS,end=ADDRESS,markers=FILE,out=FILE
 *
 * Counting goes from the instruction at `begin` to the one at `end`. `markers` has lines
 * "ADDRESS LAYER": the call at ADDRESS (always the last instruction of its block) is a call of
 * LAYER, 1 or more; all that runs before the first one is layer 0. At `end` a line "run" is
 * appended to `out`, and for each block and layer a line
 *
 *     LAYER ADDRESS INSTRUCTIONS EXECUTED LEFT ENTERED
 *
 * A block is a run of consecutive instructions. LEFT counts how often it was left to somewhere else
 * than the instruction behind it, ENTERED how often it was come to in such a way: what a taken
 * branch costs a pipeline depends on both its ends. */
#include "qemu_plugin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_MARKERS 4096

typedef struct {
    uint64_t executed, left, entered;
} counts;

typedef struct counted {
    struct counted *next;
    uint64_t start, end;
    size_t instructions;
    unsigned marks; /* the layer that begins behind this block, 0 if none does */
    counts by_layer[];
} counted;

static struct {
    uint64_t address;
    unsigned layer;
} markers[MAX_MARKERS];

static size_t marker_count;
static unsigned layers = 1;
static uint64_t begin_address, end_address;
static FILE *out;
static counted *blocks, *previous;
static unsigned layer;
static int counting;

static void begin_run(void) {
    for (counted *b = blocks; b != NULL; b = b->next) {
        memset(b->by_layer, 0, layers * sizeof b->by_layer[0]);
    }
    layer = 0;
    counting = 1;
    previous = NULL;
}

static void end_run(void) {
    fprintf(out, "run\n");
    for (const counted *b = blocks; b != NULL; b = b->next) {
        for (unsigned i = 0; i < layers; i++) {
            const counts *c = &b->by_layer[i];
            if (c->executed != 0) {
                fprintf(out, "%u 0x%" PRIx64 " %zu %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", i,
                        b->start, b->instructions, c->executed, c->left, c->entered);
            }
        }
    }
    fflush(out);
    counting = 0;
}

static void on_execute(unsigned cpu, void *data) {
    (void)cpu;
    counted *b = data;
    if (b->start == begin_address) {
        begin_run();
    } else if (counting && b->start == end_address) {
        end_run();
    }
    if (!counting) {
        return;
    }
    b->by_layer[layer].executed++;
    if (previous != NULL && previous->end != b->start) {
        previous->by_layer[layer].left++;
        b->by_layer[layer].entered++;
    }
    previous = b;
    if (b->marks != 0) {
        layer = b->marks;
    }
}

static void on_translate(plugin_id id, block *translated) {
    (void)id;
    size_t n = qemu_plugin_tb_n_insns(translated);
    counted *b = calloc(1, sizeof *b + layers * sizeof b->by_layer[0]);
    if (b == NULL || n == 0) {
        abort();
    }
    const instruction *last = qemu_plugin_tb_get_insn(translated, n - 1);
    uint64_t address = qemu_plugin_insn_vaddr(last);
    b->start = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(translated, 0));
    b->end = address + qemu_plugin_insn_size(last);
    b->instructions = n;
    for (size_t i = 0; i < marker_count; i++) {
        if (markers[i].address == address) {
            b->marks = markers[i].layer;
        }
    }
    b->next = blocks;
    blocks = b;
    qemu_plugin_register_vcpu_tb_exec_cb(translated, on_execute, 0, b);
}

static int read_markers(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return 0;
    }
    uint64_t address;
    unsigned number;
    while (marker_count < MAX_MARKERS && fscanf(file, "%" SCNi64 " %u", &address, &number) == 2) {
        markers[marker_count].address = address;
        markers[marker_count++].layer = number;
        if (number >= layers) {
            layers = number + 1;
        }
    }
    int complete = feof(file);
    fclose(file);
    return complete;
}

PUBLIC int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    int complete = 0;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "begin=", 6)) {
            begin_address = strtoull(argv[i] + 6, NULL, 0);
        } else if (!strncmp(argv[i], "end=", 4)) {
            end_address = strtoull(argv[i] + 4, NULL, 0);
        } else if (!strncmp(argv[i], "markers=", 8)) {
            complete = read_markers(argv[i] + 8);
        } else if (!strncmp(argv[i], "out=", 4)) {
            out = fopen(argv[i] + 4, "w");
        }
    }
    if (!complete || out == NULL) {
        fprintf(stderr, "the layer counter cannot read its markers or write its file\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    return 0;
}
