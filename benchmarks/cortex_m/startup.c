/* From reset to main, output over semihosting, and a timer that counts instructions under QEMU. */
#include "board.h"

extern uint32_t data_start, data_end, data_stored, bss_start, bss_end, stack_top;
int main(void);
void start(void);
void stop(void);

__attribute__((section(".vectors"), used)) static const struct {
    const void *stack;
    void (*handlers[15])(void);
} vectors = {&stack_top, {start, stop, stop, stop, stop, stop}};

/* A request to the debugger that QEMU plays. */
static int semihost(int operation, const void *argument) {
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void leave(int status) {
    const int block[2] = {0x20026, status}; /* the application's own end */
    semihost(0x20, block);
    for (;;) continue;
}

void stop(void) {
    put_text("fault\n");
    leave(1);
}

void put_text(const char *text) { semihost(0x04, text); }

void put_hex(uint32_t number) {
    char text[10];
    for (int i = 0; i < 8; i++) text[i] = "0123456789abcdef"[number >> (28 - 4 * i) & 15];
    text[8] = '\n', text[9] = 0;
    put_text(text);
}

/* SysTick runs at 25 MHz: under -icount shift=0 a tick is 40 instructions of 1 ns. It counts down
 * from 2^24 - 1; `ticks` must be called more often than it wraps (671 million instructions). */
void start_ticks(void) {
    volatile uint32_t *systick = (volatile uint32_t *)0xE000E010;
    systick[1] = 0xffffff, systick[2] = 0, systick[0] = 5;
}

uint32_t ticks(void) { return 0xffffff - ((volatile uint32_t *)0xE000E010)[2]; }

void start(void) {
    const uint32_t *from = &data_stored;
    for (uint32_t *to = &data_start; to < &data_end;) *to++ = *from++;
    for (uint32_t *to = &bss_start; to < &bss_end;) *to++ = 0;
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xf << 20; /* switch the floating-point unit on */
    __asm__ volatile("dsb\nisb");
#endif
    leave(main());
}
