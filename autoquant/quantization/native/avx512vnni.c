/* The same without bfloat16 (Cascade Lake, Ice Lake), whose products are imitated. */
#define AQ_WITHOUT_BF16
#include "avx512.c"
