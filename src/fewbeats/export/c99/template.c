/*
 * $name.c - see $name.h.
 *
 * $notice
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "$name.h"

#include <stdint.h>

#ifdef __FAST_MATH__
#error "-ffast-math changes the embeddings: compile this file without it."
#endif
#if defined(__FLT_EVAL_METHOD__) && (__FLT_EVAL_METHOD__ != 0)
#error "float must be evaluated as float: on 32-bit x86 compile with -msse2 -mfpmath=sse."
#endif

/* A compiler whose float is not 32 bits wide stops here. */
typedef char ${name}_float_has_32_bits[(sizeof(float) == 4U) ? 1 : -1];

/*
 * One convolution over time. Values stand sample by sample, the channels of a sample together;
 * a linear layer is a convolution over a single sample.
 */
typedef struct {
    const int8_t *weights; /* [out_channels][kernel][group_inputs] */
    const int32_t *biases; /* [out_channels], in units of the accumulator */
    const float *scales;   /* [out_channels], output steps in a unit of the accumulator */
    int32_t in_length;
    int32_t in_channels;
    int32_t out_length;
    int32_t out_channels;
    int32_t kernel;
    int32_t stride;
    int32_t padding;       /* samples of zero before the first one */
    int32_t group_inputs;  /* channels in that one channel out looks at */
    int32_t group_outputs; /* channels out that look at the same ones */
    int32_t in_zero;       /* the step that stands for zero */
    int32_t out_zero;
} convolution_t;

$constants
/* Layers read from one buffer and write to the other. */
static uint8_t even_steps[$even_bytes];
static uint8_t odd_steps[$odd_bytes];

/*
 * The step nearest to a value in units of a step, ties to the even one before zero is added,
 * saturated. The value may be a product that is still in a register: it is compared and converted
 * but never added to, so that a compiler which fuses multiplication and addition changes nothing.
 */
static uint8_t nearest_step(float value, int32_t zero)
{
    int32_t step;

    if (!(value > (float)(-zero))) { /* not a number ends here, too */
        step = -zero;
    } else if (value >= (float)(255 - zero)) {
        step = 255 - zero;
    } else {
        float middle;

        step = (int32_t)value;
        if ((float)step > value) {
            step -= 1; /* conversion goes towards zero, this goes down */
        }
        middle = (float)step + 0.5F;
        if ((value > middle) || (!(value < middle) && ((step % 2) != 0))) {
            step += 1;
        }
    }
    return (uint8_t)(step + zero);
}

static void convolve(const convolution_t *layer, const uint8_t *input, uint8_t *output)
{
    int32_t time;

    for (time = 0; time < layer->out_length; time++) {
        const int32_t start = (time * layer->stride) - layer->padding;
        const int32_t left = layer->in_length - start;
        const int32_t first = (start < 0) ? -start : 0;
        const int32_t end = (left < layer->kernel) ? left : layer->kernel;
        int32_t channel;

        for (channel = 0; channel < layer->out_channels; channel++) {
            const int32_t group = channel / layer->group_outputs;
            int32_t weight = ((channel * layer->kernel) + first) * layer->group_inputs;
            int32_t sample =
                ((start + first) * layer->in_channels) + (group * layer->group_inputs);
            int32_t sum = layer->biases[channel];
            int32_t tap;

            for (tap = first; tap < end; tap++) {
                int32_t i;

                for (i = 0; i < layer->group_inputs; i++) {
                    const int32_t value = (int32_t)input[sample + i] - layer->in_zero;
                    sum += value * (int32_t)layer->weights[weight + i];
                }
                sample += layer->in_channels;
                weight += layer->group_inputs;
            }
            output[(time * layer->out_channels) + channel] =
                nearest_step((float)sum * layer->scales[channel], layer->out_zero);
        }
    }
}

/* The mean of each channel over $mean_length samples. */
static void average(const uint8_t *input, uint8_t *output)
{
    int32_t channel;

    for (channel = 0; channel < $mean_channels; channel++) {
        int32_t sum = 0;
        int32_t time;

        for (time = 0; time < $mean_length; time++) {
            sum += (int32_t)input[(time * $mean_channels) + channel] - $mean_in_zero;
        }
        output[channel] = nearest_step((float)sum * $mean_factor, $mean_out_zero);
    }
}

void ${name}_embed(const float window[${NAME}_SAMPLES],
                   float embedding[${NAME}_FEATURES])
{
    int32_t i;

    for (i = 0; i < ${NAME}_SAMPLES; i++) {
        even_steps[i] = nearest_step(window[i] / $in_scale, $in_zero);
    }
$calls
    for (i = 0; i < ${NAME}_FEATURES; i++) {
        embedding[i] = (float)((int32_t)$last[i] - $out_zero) * $out_scale;
    }
}
