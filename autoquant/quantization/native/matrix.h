/* A matrix of integer codes in the order in which a product reads it.
 *
 * Rows are output units. A block is V units of each of G gates (G groups of V units where there are
 * no gates). Along the columns, four codes of a unit are stored together, since the integer product
 * takes four at once:
 *
 *     codes[block][column / 4][gate][unit in block][column % 4]
 *
 * so the gates of V units are G vectors side by side, and their sums stay in G registers.
 *
 * Below 8 bits, 32 columns form a chunk, and each bit-plane of a chunk (of 4, 2 or 1 bits: 5 bits are
 * planes of 4 and 1) packs the vectors of 8 / width column groups into one. A chunk has exactly
 * `bits` vectors for each gate. The codes in planes are unsigned, code - low.
 */
#ifndef MATRIX_H
#define MATRIX_H

#include "lanes.h"

enum { CHUNK = 8 }; /* column groups in a chunk */

/* Mirrored by native/matrix.py: MatrixStruct. */
typedef struct {
    int32_t rows, columns;
    int32_t gates;        /* G: 3 or 4 */
    int32_t gate_stride;  /* rows from one gate to the next */
    int32_t block_stride; /* rows from one block to the next */
    int32_t blocks;
    int32_t bits;         /* 8: int8 codes; below: bit-planes */
    int32_t low;          /* smallest code */
    int32_t max_code;     /* largest magnitude of a code */
    float offset;         /* weight = scale * (code + offset) */
    uint8_t *codes;
    int32_t *sums;        /* sum of a row's codes, [block][gate][V] */
} matrix;

INLINE int groups_of(const matrix *m) {
    return m->bits == 8 ? (m->columns + 3) / 4 : (m->columns + 31) / 32 * CHUNK;
}

INLINE size_t panel_bytes(const matrix *m) {
    return (size_t)groups_of(m) * m->gates * V * 4 * m->bits / 8;
}

INLINE int first_row(const matrix *m, int block, int gate) {
    return block * m->block_stride + gate * m->gate_stride;
}

/* Rows of a gate in a block: V, or what is left of the gate, or none. */
INLINE int rows_in(const matrix *m, int block, int gate) {
    int first = first_row(m, block, gate);
    int end = m->gate_stride == V ? m->rows : (gate + 1) * m->gate_stride;
    int left = end - first;
    return left < 0 ? 0 : left > V ? V : left;
}

/* One vector of codes: column group j from the planes of 4, 2 and 1 bits, plus `low`. */
INLINE vc unpack_group(const uint8_t *from, int gates, int gate, int bits, int j, vc low) {
    vi code = {0};
    int shift = 0;
    UNROLL for (int width = 4; width; width /= 2) {
        if (!(bits & width)) continue;
        const int per_byte = 8 / width, mask = 0x01010101 * ((1 << width) - 1);
        vu packed = (vu)load_int(from + (size_t)(j / per_byte * gates + gate) * 4 * V);
        const int up = shift - width * (j % per_byte); /* from its place in the byte to that in the code */
        packed = up < 0 ? packed >> -up : packed << up;
        code |= (vi)packed & splat_int(mask << shift);
        shift += width;
        from += (size_t)width * gates * 4 * V;
    }
    return (vc)code + low;
}

/* One chunk of bit-planes -> int8 codes, CHUNK * gates vectors. */
INLINE void unpack(const uint8_t *from, uint8_t *to, int gates, int bits, int low) {
    const vc lowest = (vc){0} + (int8_t)low;
    UNROLL for (int j = 0; j < CHUNK; j++)
        UNROLL for (int g = 0; g < gates; g++, to += 4 * V)
            store_int(to, (vi)unpack_group(from, gates, g, bits, j, lowest));
}

#endif
