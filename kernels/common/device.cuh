// The one header for everything that is CUDA's: kernels name what they need from here and nothing else.
//
// nvcc compiles it to intrinsics, a host compiler to the emulation in ../emulation/, with the same meaning:
//
//   KERNEL(name, Params, max_threads, min_blocks) { ... }   a kernel; its one parameter is `const Params& p`
//   DEVICE, HOST_DEVICE                   qualifiers of inline functions, members too
//   thread_index() < block_threads()      this thread in its block; lane() and warp() of it
//   block_index() < block_count()         this block in its grid; grids and blocks have one dimension
//   block_barrier(), warp_barrier()       every thread of the block (of the warp) comes here, at the same line
//   grid_barrier(GridBarrier*)            every thread of the grid; cooperative launches only, starts as zeros
//   shuffle(v, lane), shuffle_xor(v, mask), shuffle_down(v, n), vote(flag)
//                                         full warps only; v is a float, uint32_t or int32_t;
//                                         past the last lane, shuffle_down gives the caller's own value
//   shared_memory<T>()                    the block's dynamic shared memory (there is no other), 128-byte aligned
//   bf16, to_float, to_bf16               bfloat16; rounding to nearest, ties to even
//   pack_bf16(low, high), unpack_low, unpack_high           two bf16 in a register
//   load_matrix_x4(r, row), load_matrix_x2(r, row) and ..._transposed
//                                         ldmatrix: 8x8 matrices of bf16 out of shared memory; lane 8j + i passes
//                                         the 16-byte aligned address of row i of matrix j, register j is matrix j
//   multiply_accumulate(d, a, b)          d += a b for a 16x16 (row-major), b 16x8 (column-major), d 16x8; a warp's
//                                         fragments lie as PTX documents them for mma.m16n8k16
//   copy_async_16(shared, global, valid)  16 bytes, of which the first `valid` are copied and the rest zeroed;
//                                         both 16-byte aligned. They are there after the wait of this thread for
//                                         their group, and for other threads after a barrier on top of it
//   copy_async_commit(), copy_async_wait<n>()   close a group; wait until at most n closed groups are under way.
//                                         No copy may be under way when a thread ends
//   load_streamed(const uint4*)           16 bytes of global memory that the kernel does not write, past the nearest cache
//   prefetch(address)                     asks for 32 bytes of global memory that are soon to be read
//   atomic_add(uint32_t*, n)              gives the value before
//   atomic_count(uint32_t*, last)         adds 1, or makes it 0 where it is `last`; gives the value before
//   fast_exp, fast_exp2, fast_reciprocal, fast_cos, fast_sin
//                                         the card's own approximations, of angles from -pi to pi; expf, logf, fmaf ... are
//                                         the exact ones
//   float_bits, float_of_bits, count_ones, lowest_bit, highest_bit, divide_up
//   uint2, uint4, float2, float4, make_...      vectors, for loads of 8 and 16 bytes; min, max
#pragma once

#include <cstdint>

// Two bytes of device memory that hold a bfloat16.
struct bf16 {
    uint16_t bits;
};

// Where the blocks of a cooperative launch meet: in global memory, zeros before the first launch.
struct GridBarrier {
    uint32_t arrived;
    uint32_t phase;
};

#ifndef __CUDACC__
#include "emulation/device.h"
#else

#define KERNEL(name, Params, max_threads, min_blocks)                                                   \
    extern "C" __global__ void __launch_bounds__(max_threads, min_blocks)                               \
        name([[maybe_unused]] const __grid_constant__ Params p)
#define DEVICE __device__ __forceinline__
#define HOST_DEVICE __host__ __device__ __forceinline__

DEVICE uint32_t thread_index() { return threadIdx.x; }
DEVICE uint32_t block_index() { return blockIdx.x; }
DEVICE uint32_t block_count() { return gridDim.x; }
DEVICE uint32_t block_threads() { return blockDim.x; }

DEVICE void block_barrier() { __syncthreads(); }
DEVICE void warp_barrier() { __syncwarp(); }

DEVICE void grid_barrier(GridBarrier* barrier) {
    __syncthreads();
    if (threadIdx.x == 0) {
        uint32_t phase, now;
        // Read before arriving: afterwards the last block may have moved it on.
        asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(phase) : "l"(&barrier->phase) : "memory");
        // What the block has written, other threads of it included, is there for all before it arrives.
        __threadfence();
        if (atomicAdd(&barrier->arrived, 1) == gridDim.x - 1) {
            barrier->arrived = 0;
            __threadfence();
            asm volatile("st.release.gpu.u32 [%0], %1;" ::"l"(&barrier->phase), "r"(phase + 1) : "memory");
        } else {
            do {
                asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(now) : "l"(&barrier->phase) : "memory");
            } while (now == phase);
        }
        __threadfence();
    }
    __syncthreads();
}

template <class T> DEVICE T shuffle(T value, uint32_t lane) { return __shfl_sync(0xFFFFFFFFu, value, lane); }
template <class T> DEVICE T shuffle_xor(T value, uint32_t mask) { return __shfl_xor_sync(0xFFFFFFFFu, value, mask); }
template <class T> DEVICE T shuffle_down(T value, uint32_t n) { return __shfl_down_sync(0xFFFFFFFFu, value, n); }
DEVICE uint32_t vote(bool flag) { return __ballot_sync(0xFFFFFFFFu, flag); }

template <class T> DEVICE T* shared_memory() {
    extern __shared__ __align__(128) unsigned char dynamic_shared_memory[];
    return reinterpret_cast<T*>(dynamic_shared_memory);
}

DEVICE uint32_t float_bits(float value) { return __float_as_uint(value); }
DEVICE float float_of_bits(uint32_t bits) { return __uint_as_float(bits); }
DEVICE uint32_t count_ones(uint32_t bits) { return __popc(bits); }

DEVICE bf16 to_bf16(float value) {
    bf16 rounded;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded.bits) : "f"(value));
    return rounded;
}
DEVICE uint32_t pack_bf16(float low, float high) {
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

DEVICE uint32_t shared_address(const void* address) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(address));
}

DEVICE void load_matrix_x4(uint32_t (&r)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
DEVICE void load_matrix_x4_transposed(uint32_t (&r)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
DEVICE void load_matrix_x2(uint32_t (&r)[2], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
}
DEVICE void load_matrix_x2_transposed(uint32_t (&r)[2], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
}

DEVICE void multiply_accumulate(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

DEVICE void copy_async_16(void* shared, const void* global, uint32_t valid_bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(__cvta_generic_to_global(global)), "r"(valid_bytes) : "memory");
}
DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int groups> DEVICE void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
}

DEVICE uint4 load_streamed(const uint4* from) {
    uint4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(__cvta_generic_to_global(from)));
    return v;
}

DEVICE void prefetch(const void* from) {
    asm volatile("prefetch.global.L1 [%0];" ::"l"(__cvta_generic_to_global(from)));
}

DEVICE uint32_t atomic_add(uint32_t* to, uint32_t n) { return atomicAdd(to, n); }
DEVICE uint32_t atomic_count(uint32_t* to, uint32_t last) { return atomicInc(to, last); }

DEVICE float fast_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
DEVICE float fast_exp(float x) { return fast_exp2(x * 1.4426950408889634f); }
DEVICE float fast_reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

DEVICE float fast_cos(float x) {
    float y;
    asm("cos.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
DEVICE float fast_sin(float x) {
    float y;
    asm("sin.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif

DEVICE float to_float(bf16 value) { return float_of_bits(static_cast<uint32_t>(value.bits) << 16); }
DEVICE float unpack_low(uint32_t pair) { return float_of_bits(pair << 16); }
DEVICE float unpack_high(uint32_t pair) { return float_of_bits(pair & 0xFFFF0000u); }

DEVICE uint32_t lane() { return thread_index() % 32; }
DEVICE uint32_t warp() { return thread_index() / 32; }

HOST_DEVICE constexpr uint32_t divide_up(uint32_t n, uint32_t by) { return (n + by - 1) / by; }

// The lowest bit that is set, of a word with one.
DEVICE uint32_t lowest_bit(uint32_t word) { return count_ones((word & (0u - word)) - 1u); }

// The highest bit that is set, of a word with one.
DEVICE uint32_t highest_bit(uint32_t word) {
#pragma unroll
    for (uint32_t shift = 1; shift < 32; shift *= 2) word |= word >> shift;
    return count_ones(word) - 1u;
}
