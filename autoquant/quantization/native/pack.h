/* Values and codes into the order of matrix.h; activations into rows of unsigned codes. */
#ifndef PACK_H
#define PACK_H

#include "matrix.h"

/* Codes of a row of values, minus `zero`, and up to V - 1 bytes more; not 0 where a value is NaN. The
 * division, and the order of rounding and clipping, are those of quantization/codes.py: encode. The
 * codes are equal, ties included. */
INLINE int encode_row(const float *values, int count, float scale, float offset, int low, int high,
                      int zero, int8_t *codes) {
    vi nan = {0};
    for (int k = 0; k < count; k += V) {
        int n = count - k < V ? count - k : V;
        vf x = load_lanes(values + k, n) / scale - offset;
        nan |= x != x;
        x = nearest(at_least(at_most(x, splat((float)high)), splat((float)low)));
        store_bytes(codes + k, to_int(x) - zero);
    }
    return any(nan);
}

/* One chunk of int8 codes -> bit-planes: the inverse of unpack. */
INLINE void pack_planes(const int8_t *from, uint8_t *to, int gates, int bits, int low) {
    memset(to, 0, (size_t)bits * gates * 4 * V);
    int shift = 0;
    for (int width = 4; width; width /= 2) {
        if (!(bits & width)) continue;
        int per_byte = 8 / width, mask = (1 << width) - 1;
        for (int j = 0; j < CHUNK; j++)
            for (int i = 0; i < gates * 4 * V; i++) {
                int code = (from[j * gates * 4 * V + i] - low) >> shift & mask;
                to[(size_t)(j / per_byte) * gates * 4 * V + i] |= (uint8_t)(code << width * (j % per_byte));
            }
        shift += width;
        to += (size_t)width * gates * 4 * V;
    }
}

/* Mirrored by native/matrix.py: _Source. Rows [rows, columns] of values on the grid, or of codes. */
typedef struct {
    const float *values;
    const int8_t *codes; /* or NULL: the values are packed */
    const float *scales; /* of the values: one for each row, or one */
    int32_t per_row, high; /* per_row: whether each row has a scale */
    int8_t *row;         /* workspace of columns + 64 bytes */
    int8_t *panel;       /* workspace for a block as int8, or NULL where the matrix has 8 bits */
} source;

INLINE int place_row(matrix *m, const source *from, int block, int gate, int lane, int8_t *panel) {
    int has_nan = 0, groups = groups_of(m), row = first_row(m, block, gate) + lane;
    int8_t *to = panel + (gate * V + lane) * 4;
    size_t start = (size_t)row * m->columns, columns = (size_t)m->columns;
    if (lane >= rows_in(m, block, gate)) memset(from->row, 0, columns);
    else if (from->codes) memcpy(from->row, from->codes + start, columns);
    else
        has_nan = encode_row(from->values + start, m->columns, from->scales[from->per_row ? row : 0],
                         m->offset, m->low, from->high, 0, from->row);
    /* stored as 0 in any number of bits */
    memset(from->row + columns, m->bits == 8 ? 0 : m->low, (size_t)groups * 4 - columns);
    int32_t sum = 0;
    for (int k = 0; k < m->columns; k++) sum += from->row[k];
    m->sums[(block * m->gates + gate) * V + lane] = sum;
    for (int k = 0; k < groups; k++) memcpy(to + (size_t)k * m->gates * V * 4, from->row + 4 * k, 4);
    return has_nan;
}

/* Fill m->codes and m->sums. Returns not 0 where a value is NaN (its code means nothing then). */
int NAME(pack)(matrix *m, const source *from) {
    int has_nan = 0, groups = groups_of(m);
    for (int block = 0; block < m->blocks; block++) {
        uint8_t *to = m->codes + (size_t)block * panel_bytes(m);
        int8_t *panel = m->bits == 8 ? (int8_t *)to : from->panel;
        for (int g = 0; g < m->gates; g++)
            for (int lane = 0; lane < V; lane++) has_nan |= place_row(m, from, block, g, lane, panel);
        if (m->bits == 8) continue;
        for (int k = 0; k < groups; k += CHUNK)
            pack_planes(panel + (size_t)k * m->gates * 4 * V,
                        to + (size_t)k / CHUNK * m->bits * m->gates * 4 * V, m->gates, m->bits, m->low);
    }
    return has_nan;
}

/* Bytes of a matrix's codes; its sums are blocks * gates * V numbers. */
int64_t NAME(packed_size)(const matrix *m) { return (int64_t)m->blocks * (int64_t)panel_bytes(m); }

int NAME(lanes)(void) { return V; }

/* values [rows, columns] -> unsigned codes, code - low, in rows of `stride` bytes that end in zeros,
 * and the sums of the rows' codes. Returns not 0 where a value is NaN. */
int NAME(encode)(const float *values, int64_t rows, int columns, float scale, int low, int high,
                 uint8_t *codes, int64_t stride, int32_t *sums) {
    int has_nan = 0;
    for (int64_t r = 0; r < rows; r++, codes += stride) {
        has_nan |= encode_row(values + r * columns, columns, scale, 0.0f, low, high, low,
                          (int8_t *)codes);
        memset(codes + columns, 0, (size_t)(stride - columns));
        int32_t sum = 0;
        for (int k = 0; k < columns; k++) sum += codes[k];
        sums[r] = sum + low * columns;
    }
    return has_nan;
}

#endif
