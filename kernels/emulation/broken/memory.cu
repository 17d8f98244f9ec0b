// Addresses that are not the kernel's.

#include "broken.h"

// The average with the next one, times 0: the last has none.
KERNEL(read_past_end, Broken, 128, 1) {
    const uint32_t next = p.broken ? place() + 1 : min(place() + 1, p.count - 1);
    out(p)[place()] = in(p)[place()] + 0.0f * in(p)[next];
}

KERNEL(write_past_end, Broken, 128, 1) {
    out(p)[place()] = in(p)[place()];
    if (p.broken && place() == 0) out(p)[p.count] = 1.0f;
}

KERNEL(write_before_start, Broken, 128, 1) {
    out(p)[place()] = in(p)[place()];
    if (p.broken && place() == 0) out(p)[-1] = 1.0f;
}

KERNEL(write_past_shared, Broken, 128, 1) {
    float* shared = shared_memory<float>();
    shared[thread_index() + (p.broken ? 1 : 0)] = in(p)[place()];
    block_barrier();
    out(p)[place()] = in(p)[place()];
}

// What nobody wrote.
KERNEL(read_unwritten_shared, Broken, 128, 1) {
    float* shared = shared_memory<float>();
    if (!p.broken) shared[thread_index()] = 1.0f;
    out(p)[place()] = in(p)[place()] * shared[thread_index()];
}

// Sixteen bytes from where only four are aligned.
KERNEL(misaligned_vector, Broken, 128, 1) {
    const float* from = in(p) + (p.broken ? 1 : 0);
    const float4 four = *reinterpret_cast<const float4*>(from);
    out(p)[place()] = in(p)[place()] + 0.0f * four.x;
}

// More than an int holds.
KERNEL(signed_overflow, Broken, 128, 1) {
    int32_t large = 0x7FFFFFFF - static_cast<int32_t>(place() % 2);
    large = p.broken ? large + static_cast<int32_t>(p.count) : large;
    out(p)[place()] = in(p)[place()] + 0.0f * static_cast<float>(large);
}

// A row for ldmatrix at 8 bytes instead of 16.
KERNEL(misaligned_matrix_row, Broken, 128, 1) {
    bf16* shared = shared_memory<bf16>();
    uint32_t r[2];
    load_matrix_x2(r, shared + 8 * (lane() % 8) + (p.broken ? 4 : 0));
    out(p)[place()] = in(p)[place()];
}

// Far from all memory.
KERNEL(read_nowhere, Broken, 128, 1) {
    const float* from = reinterpret_cast<const float*>(p.in - (static_cast<uint64_t>(p.broken) << 45));
    out(p)[place()] = from[place()];
}

// Room of 128 KiB on the stack of a thread.
KERNEL(large_frame, Broken, 128, 1) {
    volatile unsigned char* frame = static_cast<unsigned char*>(__builtin_alloca(p.broken ? 128 * 1024 : 16));
    frame[0] = 0;
    out(p)[place()] = in(p)[place()] + static_cast<float>(frame[0]);
}
