/* Windows from standard input, embeddings to standard output, as raw floats. */
#include <stdio.h>

#include "fewbeats_backbone.h"

int main(void)
{
    static float window[FEWBEATS_BACKBONE_SAMPLES];
    static float embedding[FEWBEATS_BACKBONE_FEATURES];

    while (fread(window, sizeof(window), 1, stdin) == 1) {
        fewbeats_backbone_embed(window, embedding);
        if (fwrite(embedding, sizeof(embedding), 1, stdout) != 1) {
            return 1;
        }
    }
    return 0;
}
