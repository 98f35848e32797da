/* x86-64 with AVX-512, its integer dot product (VNNI) and bfloat16. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,avx2,fma,prefer-vector-width=512")
#include <immintrin.h>
#define AQ_AVX512
#define AQ_SET avx512
#include "core.h"
#endif
