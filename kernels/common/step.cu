// The end of a step: the batch's cost, and on to the next (docs/kernels.md#finish_step).
//
// One block, so that the order of the sums is fixed; in double precision, as there is so little to add.

#include "device.cuh"

struct FinishParams {
    const float* nll;  // [parts, images]
    double* image_nll; // [images]; NULL: not wanted
    double* losses;    // [steps]; NULL: not wanted
    uint32_t* cursor;  // which step; NULL: the first, and stays
    uint32_t parts, images;
};
static_assert(sizeof(FinishParams) == 40, "as in src/device/cuda/ops/step.rs");

KERNEL(finish_step, FinishParams, 1024, 1) {
    double* sums = shared_memory<double>();
    double mine = 0.0;
    for (uint32_t image = thread_index(); image < p.images; image += block_threads()) {
        double cost = 0.0;
        for (uint32_t part = 0; part < p.parts; ++part) cost += p.nll[static_cast<size_t>(part) * p.images + image];
        if (p.image_nll) p.image_nll[image] = cost;
        mine += cost;
    }
    sums[thread_index()] = mine;
    block_barrier();
    // Two levels: the first warp adds every 32nd, its first lane the rest.
    if (warp() == 0) {
        for (uint32_t i = lane() + 32; i < block_threads(); i += 32) mine += sums[i];
        sums[lane()] = mine;
        warp_barrier();
    }
    if (thread_index() > 0) return;
    double all = 0.0;
    for (uint32_t i = 0; i < 32; ++i) all += sums[i];
    const uint32_t step = p.cursor ? *p.cursor : 0;
    if (p.losses) p.losses[step] = all / p.images;
    if (p.cursor) *p.cursor = step + 1;
}
