/* Runs kernel calls on QEMU's mps3-an547 (tests/support/helium.py): a list of calls lies at LIST,
 * their data behind it.  Afterwards the memory is written to a file of the host. */
#include <stddef.h>
#include <stdint.h>

typedef void function(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);

typedef struct {
    uint32_t function; /* address; 0 copies: to, from, bytes */
    uint32_t arguments[6];
} call;

typedef struct {
    uint32_t count, begin, bytes; /* calls; the memory to write */
    call calls[];
} list;

void start(void);

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    (const void *)STACK,
    (const void *)start,
};

static uint32_t host(uint32_t operation, const void *arguments) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void start(void) {
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: floating point and vectors */
    __asm__ volatile("dsb\n\tisb");
    const list *l = (const list *)LIST;
    for (uint32_t i = 0; i < l->count; i++) {
        const uint32_t *a = l->calls[i].arguments;
        if (l->calls[i].function == 0) {
            for (uint32_t k = 0; k < a[2]; k++) {
                ((volatile char *)a[0])[k] = ((const char *)a[1])[k];
            }
        } else {
            ((function *)l->calls[i].function)(a[0], a[1], a[2], a[3], a[4], a[5]);
        }
    }
    const uint32_t open[3] = {(uint32_t)"after", 5 /* wb */, 5};
    const uint32_t write[3] = {host(1, open), l->begin, l->bytes};
    host(5, write);
    host(0x18, (const void *)0x20026); /* exit */
    for (;;) {
    }
}
