// Numbers that these kernels and the host both know, for tests/cuda/kernels/constants.rs to compare, in its order.

#include "adam.cuh"
#include "philox.cuh"

struct CommonConstants {
    double* numbers;
};
static_assert(sizeof(CommonConstants) == 8, "as in src/device/cuda/ops/constants.rs");

KERNEL(common_constants, CommonConstants, 32, 1) {
    if (thread_index() > 0) return;
    double* next = p.numbers;
    const auto tell = [&](double number) { *next++ = number; };
    tell(BETA_1);
    tell(BETA_2);
    tell(EPSILON);
    tell(PURPOSE_DRAW);
    // A word of all ones, whose number must stay below 1, and one of all zeros, above 0.
    tell(unit(0xFFFFFFFFu));
    tell(unit(0));
    uint32_t words[3];
    philox(1, 2, 0x300000004u, 5, words);
    for (uint32_t word : words) tell(word);
}
