/*
 * A bare Cortex-M that embeds the windows stored in it. It prints over UART0, one line a window,
 * the timer's ticks that it took and the bits of the embedding in hexadecimal; then it ends the
 * emulator by semihosting.
 *
 * Registers: Arm, Application Note AN385 (UART0 of the MPS2 boards), Cortex-M System Design Kit
 * TRM (CMSDK UART), ARMv7-M Architecture Reference Manual (SysTick, CPACR).
 */
#include <stdint.h>

#include "fewbeats_backbone.h"
#include "windows.h" /* WINDOWS, window_bits[WINDOWS][FEWBEATS_BACKBONE_SAMPLES] */

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define UART_DATA REGISTER(0x40004000U)
#define UART_STATE REGISTER(0x40004004U)
#define UART_CONTROL REGISTER(0x40004008U)
#define UART_DIVIDER REGISTER(0x40004010U)
#define TIMER_CONTROL REGISTER(0xE000E010U)
#define TIMER_RELOAD REGISTER(0xE000E014U)
#define TIMER_VALUE REGISTER(0xE000E018U)
#define COPROCESSORS REGISTER(0xE000ED88U)

typedef union {
    float real;
    uint32_t bits;
} word_t;

extern uint32_t stack_top, data_begin, data_end, data_source, bss_begin, bss_end;
void reset(void);
static void fault(void);

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[16] = {
    (uintptr_t)&stack_top, (uintptr_t)reset, (uintptr_t)fault, (uintptr_t)fault,
    (uintptr_t)fault,      (uintptr_t)fault, (uintptr_t)fault,
};

static void put(char letter)
{
    while ((UART_STATE & 1U) != 0U) {
    }
    UART_DATA = (uint32_t)letter;
}

static void put_word(uint32_t word, char after)
{
    int32_t shift;

    for (shift = 28; shift >= 0; shift -= 4) {
        put("0123456789abcdef"[(word >> (uint32_t)shift) & 15U]);
    }
    put(after);
}

/* SYS_EXIT with ADP_Stopped_ApplicationExit, or with ADP_Stopped_RunTimeErrorUnknown. */
static void leave(uint32_t reason)
{
    register uint32_t operation __asm__("r0") = 0x18U;
    register uint32_t parameter __asm__("r1") = reason;

    __asm__ volatile("bkpt 0xAB" : : "r"(operation), "r"(parameter) : "memory");
    for (;;) {
    }
}

static void fault(void)
{
    put('!');
    leave(0x20023U);
}

static void embed_all(void)
{
    static float window[FEWBEATS_BACKBONE_SAMPLES];
    static float embedding[FEWBEATS_BACKBONE_FEATURES];
    int32_t n;
    int32_t i;

    for (n = 0; n < WINDOWS; n++) {
        uint32_t begun;
        uint32_t ended;
        word_t word;

        for (i = 0; i < FEWBEATS_BACKBONE_SAMPLES; i++) {
            word.bits = window_bits[n][i];
            window[i] = word.real;
        }
        begun = TIMER_VALUE;
        fewbeats_backbone_embed(window, embedding);
        ended = TIMER_VALUE;
        put_word((begun - ended) & 0xFFFFFFU, ' '); /* it counts down, 24 bits wide */
        for (i = 0; i < FEWBEATS_BACKBONE_FEATURES; i++) {
            word.real = embedding[i];
            put_word(word.bits, (i + 1 < FEWBEATS_BACKBONE_FEATURES) ? ' ' : '\n');
        }
    }
}

void reset(void)
{
    const uint32_t *from = &data_source;
    uint32_t *to;

#ifdef __ARM_FP
    COPROCESSORS |= 0xF00000U; /* the floating-point unit is off until it is asked for */
    __asm__ volatile("dsb\n\tisb");
#endif
    for (to = &data_begin; to < &data_end; to++) {
        *to = *from;
        from++;
    }
    for (to = &bss_begin; to < &bss_end; to++) {
        *to = 0U;
    }
    UART_DIVIDER = 16U;
    UART_CONTROL = 1U;
    TIMER_RELOAD = 0xFFFFFFU;
    TIMER_VALUE = 0U;
    TIMER_CONTROL = 5U; /* on, from the processor's clock */
    embed_all();
    leave(0x20026U);
}
