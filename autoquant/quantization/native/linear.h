/* y = x W^T + b with integer codes of x and W: exact sums, then one multiplication. */
#ifndef LINEAR_H
#define LINEAR_H

#include "tile.h"

enum { ROW_GROUP = 48, BLOCK_GROUP = 8 }; /* rows and blocks that are reused from the caches */

/* Mirrored by kernels/integer_linear.py: IntegerLinearJob. */
typedef struct {
    const matrix *weight;  /* [N, K] */
    const float *scales;   /* [N]: scale of a row times scale of x */
    const float *bias;     /* [N] or NULL */
    const uint8_t *codes;  /* [rows, stride], see encode */
    const int32_t *sums;   /* [rows] */
    int64_t stride;
    int32_t low, high;     /* of x */
    float *out;            /* [rows, N] */
    int64_t row0, row1;
    int32_t block0, block1;
} linear_job;

INLINE void linear_store(const linear_job *job, int block, int64_t row, int rows, const vi *sums) {
    const matrix *m = job->weight;
    for (int g = 0; g < 4; g++) {
        int first = first_row(m, block, g), n = rows_in(m, block, g);
        if (n == 0) continue;
        vf scale = load_lanes(job->scales + first, n);
        vf bias = job->bias ? load_lanes(job->bias + first, n) : (vf){0};
        for (int r = 0; r < rows; r++) {
            float shift = m->offset * (float)job->sums[row + r];
            vf y = (to_float(sums[r * 4 + g]) + shift) * scale + bias;
            store_lanes(job->out + (row + r) * m->rows + first, y, n);
        }
    }
}

void NAME(linear)(const linear_job *job) {
    const matrix *m = job->weight;
    int burst = burst_of(m->max_code, job->high - job->low);
    vi sums[ROW_GROUP * 4];
    for (int first = job->block0; first < job->block1; first += BLOCK_GROUP)
        for (int64_t row = job->row0; row < job->row1; row += ROW_GROUP) {
            int rows = job->row1 - row < ROW_GROUP ? (int)(job->row1 - row) : ROW_GROUP;
            int end = first + BLOCK_GROUP < job->block1 ? first + BLOCK_GROUP : job->block1;
            for (int block = first; block < end; block++) {
                block_dots(m, block, job->codes + row * job->stride, (size_t)job->stride, rows,
                           job->low, job->sums + row, burst, sums);
                linear_store(job, block, row, rows, sums);
            }
        }
}

#endif
