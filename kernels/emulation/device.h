// What ../common/device.cuh promises, for a host compiler: every thread of a block is a fiber (machine.h).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

using std::max;
using std::min;

struct alignas(8) uint2 { uint32_t x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

#define DEVICE inline __attribute__((always_inline))
#define HOST_DEVICE inline __attribute__((always_inline))
#define KERNEL(name, Params, max_threads, min_blocks)                                                    \
    static void kernel_##name(const Params& p);                                                          \
    static const emulation::Kernel registered_##name(                                                    \
        #name, sizeof(Params), max_threads,                                                              \
        [](const void* p) { kernel_##name(*static_cast<const Params*>(p)); });                           \
    static void kernel_##name([[maybe_unused]] const Params& p)

namespace emulation {

// A line of a kernel, for messages and to tell one barrier from another.
struct Site {
    const char* file;
    int line;

    // The file without its folder.
    const char* name() const {
        const char* slash = std::strrchr(file, '/');
        return slash == nullptr ? file : slash + 1;
    }
};

// A kernel by its name. Registers itself.
struct Kernel {
    Kernel(const char* name, std::size_t parameter, uint32_t max_threads, void (*body)(const void*));

    const char* name;
    std::size_t parameter;
    uint32_t max_threads;
    void (*body)(const void*);
    const Kernel* next;
};

// Where the running thread stands.
struct Place {
    uint32_t thread, block, blocks, threads;
    unsigned char* shared;
};
// A thread of the operating system runs a launch from its beginning to its end: fibers never change it.
extern thread_local const Place* here __attribute__((tls_model("initial-exec")));

// Warp operations; see collective.cpp.
uint32_t exchange(uint32_t bits, uint32_t lane, const char* operation, Site at);
uint32_t vote(bool flag, Site at);
void meet_warp(Site at);
void load_matrix(uint32_t* r, int matrices, bool transposed, const bf16* row, Site at);
void multiply(float* d, const uint32_t* a, const uint32_t* b, Site at);

// Copies of one thread; see copies.cpp.
void copy(void* shared, const void* global, uint32_t valid, Site at);
void commit();
void wait(int groups, Site at);

// Barriers, and a place where another thread may go first; see machine.cpp.
void meet_block(Site at);
void meet_grid(GridBarrier* barrier, Site at);
void pause();

} // namespace emulation

// The line that calls the function whose last arguments these are.
#define EMULATION_AT const char *file = __builtin_FILE(), int line = __builtin_LINE()

DEVICE uint32_t thread_index() { return emulation::here->thread; }
DEVICE uint32_t block_index() { return emulation::here->block; }
DEVICE uint32_t block_count() { return emulation::here->blocks; }
DEVICE uint32_t block_threads() { return emulation::here->threads; }

DEVICE void block_barrier(EMULATION_AT) { emulation::meet_block({file, line}); }
DEVICE void warp_barrier(EMULATION_AT) { emulation::meet_warp({file, line}); }
DEVICE void grid_barrier(GridBarrier* barrier, EMULATION_AT) { emulation::meet_grid(barrier, {file, line}); }

template <class T> DEVICE T* shared_memory() { return reinterpret_cast<T*>(emulation::here->shared); }

template <class To, class From> DEVICE To emulation_bits(From from) {
    static_assert(sizeof(To) == 4 && sizeof(From) == 4, "shuffles and casts of bits are of 4 bytes");
    To to;
    std::memcpy(&to, &from, 4);
    return to;
}
DEVICE uint32_t float_bits(float value) { return emulation_bits<uint32_t>(value); }
DEVICE float float_of_bits(uint32_t bits) { return emulation_bits<float>(bits); }
DEVICE uint32_t count_ones(uint32_t bits) { return static_cast<uint32_t>(__builtin_popcount(bits)); }

template <class T> DEVICE T shuffle(T value, uint32_t lane, EMULATION_AT) {
    return emulation_bits<T>(emulation::exchange(emulation_bits<uint32_t>(value), lane % 32, "shuffle", {file, line}));
}
template <class T> DEVICE T shuffle_xor(T value, uint32_t mask, EMULATION_AT) {
    const uint32_t from = (thread_index() % 32) ^ (mask % 32);
    return emulation_bits<T>(emulation::exchange(emulation_bits<uint32_t>(value), from, "shuffle_xor", {file, line}));
}
template <class T> DEVICE T shuffle_down(T value, uint32_t n, EMULATION_AT) {
    const uint32_t lane = thread_index() % 32, from = lane + n < 32 ? lane + n : lane;
    return emulation_bits<T>(emulation::exchange(emulation_bits<uint32_t>(value), from, "shuffle_down", {file, line}));
}
DEVICE uint32_t vote(bool flag, EMULATION_AT) { return emulation::vote(flag, {file, line}); }

DEVICE bf16 to_bf16(float value) {
    const uint32_t bits = float_bits(value);
    if (value != value) return {0x7FFF};
    return {static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16)};
}
DEVICE uint32_t pack_bf16(float low, float high) {
    return to_bf16(low).bits | static_cast<uint32_t>(to_bf16(high).bits) << 16;
}

DEVICE void load_matrix_x4(uint32_t (&r)[4], const bf16* row, EMULATION_AT) {
    emulation::load_matrix(r, 4, false, row, {file, line});
}
DEVICE void load_matrix_x4_transposed(uint32_t (&r)[4], const bf16* row, EMULATION_AT) {
    emulation::load_matrix(r, 4, true, row, {file, line});
}
DEVICE void load_matrix_x2(uint32_t (&r)[2], const bf16* row, EMULATION_AT) {
    emulation::load_matrix(r, 2, false, row, {file, line});
}
DEVICE void load_matrix_x2_transposed(uint32_t (&r)[2], const bf16* row, EMULATION_AT) {
    emulation::load_matrix(r, 2, true, row, {file, line});
}
DEVICE void multiply_accumulate(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMULATION_AT) {
    emulation::multiply(d, a, b, {file, line});
}

DEVICE void copy_async_16(void* shared, const void* global, uint32_t valid_bytes, EMULATION_AT) {
    emulation::copy(shared, global, valid_bytes, {file, line});
}
DEVICE void copy_async_commit() { emulation::commit(); }
template <int groups> DEVICE void copy_async_wait(EMULATION_AT) {
    static_assert(groups >= 0 && groups < 16, "a count of groups (fewer than a lane has clocks for)");
    emulation::wait(groups, {file, line});
}

DEVICE uint32_t atomic_add(uint32_t* to, uint32_t n) {
    emulation::pause();
    return __atomic_fetch_add(to, n, __ATOMIC_RELAXED);
}
DEVICE uint32_t atomic_count(uint32_t* to, uint32_t last) {
    emulation::pause();
    uint32_t before = __atomic_load_n(to, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(to, &before, before >= last ? 0 : before + 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return before;
}

DEVICE uint4 load_streamed(const uint4* from) { return *from; }
DEVICE void prefetch(const void*) {}

DEVICE float fast_exp(float x) { return expf(x); }
DEVICE float fast_exp2(float x) { return exp2f(x); }
DEVICE float fast_cos(float x) { return cosf(x); }
DEVICE float fast_sin(float x) { return sinf(x); }
DEVICE float fast_reciprocal(float x) { return 1.0f / x; }
