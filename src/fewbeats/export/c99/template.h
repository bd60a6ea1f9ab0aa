/*
 * $name.h - the backbone of a fewbeats detector, in C99.
 *
 * $notice
 *
 * From one window of ECG it makes one embedding, the same bits as ONNX Runtime makes of
 *   model SHA-256  $sha256
 * Heads are bound to that hash: never judge these embeddings by a head that names another one.
 *
 *   flash  $flash_bytes bytes of weights and constants, and the code
 *   RAM    $ram_bytes bytes of static buffers, and under 300 bytes of stack
 *   work   $macs multiply-accumulates a window
 *
 * The window: $samples samples at $rate_hz Hz ($window_s s) of the band $low_hz-$high_hz Hz, baseline taken
 * out, zero mean, unit variance (but never scaled up by more than one over $floor_uv uV). It must be
 * made as fewbeats/device/preprocess.py makes it; embeddings of other windows mean nothing.
 *
 *   static float window[${NAME}_SAMPLES];
 *   static float embedding[${NAME}_FEATURES];
 *   ${name}_embed(window, embedding);
 *
 * The buffers are static: one call at a time, and none from an interrupt that may break into
 * another. There is no heap, no recursion, no library call but those that a compiler makes for
 * float on a processor without it, and the time of a call hardly depends on the window.
 *
 * Compile as C99 or C++ with IEEE 754 single precision, rounding to nearest. -ffast-math and its
 * parts (-funsafe-math-optimizations, -freciprocal-math, ...) change results: do not use them.
 * -ffp-contract is free: nothing is ever added to a product. Optimisation, from -O0 to -O3 and
 * -Os, is free too.
 *
$agreement
 *
 * Written by fewbeats $version from the model; do not edit it, write it again.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ${NAME}_H
#define ${NAME}_H

#ifdef __cplusplus
extern "C" {
#endif

/* Samples in a window, and how many of them there are in a second. */
#define ${NAME}_SAMPLES $samples
#define ${NAME}_RATE_HZ $rate_hz

/* Values in an embedding. */
#define ${NAME}_FEATURES $features

/* The model that this is, as heads name it. */
#define ${NAME}_SHA256 \
    "$sha256"

/* Embed one window. Samples that are no numbers count as the lowest one there is. */
void ${name}_embed(const float window[${NAME}_SAMPLES],
                   float embedding[${NAME}_FEATURES]);

#ifdef __cplusplus
}
#endif

#endif
