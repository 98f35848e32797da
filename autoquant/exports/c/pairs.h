/* Two products of 16 bits at a time, on Arm processors from Cortex-M4 on. */
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && !defined(__ARM_BIG_ENDIAN)
#define HAS_PAIRS
INLINE uint32_t four_bytes(const void *p) {
    uint32_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    return bytes;
}
/* Bytes 0 and 2, or 1 and 3, as numbers of 16 bits. */
INLINE uint32_t even_int8(uint32_t bytes) {
    uint32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(bytes));
    return pair;
}
INLINE uint32_t odd_int8(uint32_t bytes) {
    uint32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(bytes));
    return pair;
}
INLINE uint32_t even_uint8(uint32_t bytes) { return bytes & 0x00ff00ff; }
INLINE uint32_t odd_uint8(uint32_t bytes) { return bytes >> 8 & 0x00ff00ff; }
INLINE int32_t add_two(int32_t sum, uint32_t a, uint32_t b) {
    int32_t made;
    __asm__("smlad %0, %1, %2, %3" : "=r"(made) : "r"(a), "r"(b), "r"(sum));
    return made;
}
#endif
