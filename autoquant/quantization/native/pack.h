/* Values and codes into the order of matrix.h; activations into rows of unsigned codes. */
#ifndef PACK_H
#define PACK_H

#include "matrix.h"

/* Codes of a row of values, minus `zero`, and up to V - 1 bytes more; not 0 where a value is NaN. The
 * division, and the order of rounding and clipping, are those of quantizer.encode: the codes are
 * equal, ties included. */
INLINE int encode_row(const float *values, int count, float scale, float offset, int low, int high,
                      int zero, int8_t *codes) {
    vi odd = {0};
    for (int k = 0; k < count; k += V) {
        int n = count - k < V ? count - k : V;
        vf x = load_lanes(values + k, n) / scale - offset;
        odd |= x != x;
        x = nearest(at_least(at_most(x, splat((float)high)), splat((float)low)));
        store_bytes(codes + k, to_int(x) - zero);
    }
    return any(odd);
}

/* One chunk of int8 codes -> bit-planes: what unpack undoes. */
INLINE void squeeze(const int8_t *from, uint8_t *to, int gates, int bits, int low) {
    memset(to, 0, (size_t)bits * gates * 4 * V);
    int shift = 0;
    for (int width = 4; width; width /= 2) {
        if (!(bits & width)) continue;
        int each = 8 / width, mask = (1 << width) - 1;
        for (int j = 0; j < CHUNK; j++)
            for (int i = 0; i < gates * 4 * V; i++) {
                int code = (from[j * gates * 4 * V + i] - low) >> shift & mask;
                to[(size_t)(j / each) * gates * 4 * V + i] |= (uint8_t)(code << width * (j % each));
            }
        shift += width;
        to += (size_t)width * gates * 4 * V;
    }
}

/* Mirrored by native/matrix.py: _Source. Rows [rows, columns] of values on the grid, or of codes. */
typedef struct {
    const float *values;
    const int8_t *codes; /* or NULL: the values count */
    const float *scales; /* of the values: one for each row, or one */
    int32_t scales_each, high;
    int8_t *row;         /* room for columns + 64 bytes */
    int8_t *panel;       /* room for a block as int8, or NULL where the matrix has 8 bits */
} source;

INLINE int place_row(matrix *m, const source *from, int block, int gate, int lane, int8_t *panel) {
    int odd = 0, groups = groups_of(m), row = first_row(m, block, gate) + lane;
    int8_t *to = panel + (gate * V + lane) * 4;
    size_t start = (size_t)row * m->columns, columns = (size_t)m->columns;
    if (lane >= rows_in(m, block, gate)) memset(from->row, 0, columns);
    else if (from->codes) memcpy(from->row, from->codes + start, columns);
    else
        odd = encode_row(from->values + start, m->columns, from->scales[from->scales_each ? row : 0],
                         m->offset, m->low, from->high, 0, from->row);
    /* held as 0 in any number of bits */
    memset(from->row + columns, m->bits == 8 ? 0 : m->low, (size_t)groups * 4 - columns);
    int32_t sum = 0;
    for (int k = 0; k < m->columns; k++) sum += from->row[k];
    m->sums[(block * m->gates + gate) * V + lane] = sum;
    for (int k = 0; k < groups; k++) memcpy(to + (size_t)k * m->gates * V * 4, from->row + 4 * k, 4);
    return odd;
}

/* Fill m->codes and m->sums. Returns not 0 where a value is NaN (its code means nothing then). */
int NAME(pack)(matrix *m, const source *from) {
    int odd = 0, groups = groups_of(m);
    for (int block = 0; block < m->blocks; block++) {
        uint8_t *to = m->codes + (size_t)block * panel_bytes(m);
        int8_t *panel = m->bits == 8 ? (int8_t *)to : from->panel;
        for (int g = 0; g < m->gates; g++)
            for (int lane = 0; lane < V; lane++) odd |= place_row(m, from, block, g, lane, panel);
        if (m->bits == 8) continue;
        for (int k = 0; k < groups; k += CHUNK)
            squeeze(panel + (size_t)k * m->gates * 4 * V, to + (size_t)k / CHUNK * m->bits * m->gates * 4 * V,
                    m->gates, m->bits, m->low);
    }
    return odd;
}

/* Bytes of a matrix's codes; its sums are blocks * gates * V numbers. */
int64_t NAME(packed_size)(const matrix *m) { return (int64_t)m->blocks * (int64_t)panel_bytes(m); }

int NAME(lanes)(void) { return V; }

/* values [rows, columns] -> unsigned codes, code - low, in rows of `stride` bytes that end in zeros,
 * and the sums of the rows' codes. Returns not 0 where a value is NaN. */
int NAME(encode)(const float *values, int64_t rows, int columns, float scale, int low, int high,
                 uint8_t *codes, int64_t stride, int32_t *sums) {
    int odd = 0;
    for (int64_t r = 0; r < rows; r++, codes += stride) {
        odd |= encode_row(values + r * columns, columns, scale, 0.0f, low, high, low,
                          (int8_t *)codes);
        memset(codes + columns, 0, (size_t)(stride - columns));
        int32_t sum = 0;
        for (int k = 0; k < columns; k++) sum += codes[k];
        sums[r] = sum + low * columns;
    }
    return odd;
}

#endif
