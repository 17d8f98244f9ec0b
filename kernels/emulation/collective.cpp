// Operations of a warp: its lanes bring operands, the last to come works them out for all.

#include "machine.h"

namespace emulation {

namespace {

float widen(uint32_t pair, int half) { return float_of_bits(half == 0 ? pair << 16 : pair & 0xFFFF0000u); }

// This lane's slot in the operation that it is about to join.
Slot& slot() {
    Warp& warp = *machine->lane().warp;
    return warp.slots[warp.round & 1][machine->lane().place.thread % warp_size];
}

// sums += left right, in the order of k. Its own arrays alone: sanitizers would make it slow to no end.
__attribute__((no_sanitize("address", "undefined"))) void add_product(float (&sums)[16][8], const float (&left)[16][16],
                                                                      const float (&right)[16][8]) {
    for (int i = 0; i < 16; ++i) {
        for (int k = 0; k < 16; ++k) {
            for (int j = 0; j < 8; ++j) sums[i][j] += left[i][k] * right[k][j];
        }
    }
}

} // namespace

void meet_warp(Site at) {
    if (machine->leaves_out(at)) return;
    Meeting& meeting = machine->lane().warp->meeting;
    races::Clock& clock = meeting.arrive();
    if (machine->arrive_warp("warp_barrier", at)) {
        ++meeting.round;
        machine->release_warp();
    }
    races::acquire(clock);
}

uint32_t exchange(uint32_t bits, uint32_t lane, const char* operation, Site at) {
    Slot& mine = slot();
    const Slot& other = *(&mine - machine->lane().place.thread % warp_size + lane);
    mine.words[0] = bits;
    if (machine->arrive_warp(operation, at)) machine->release_warp();
    return other.words[0];
}

uint32_t vote(bool flag, Site at) {
    const Slot* slots = &slot() - machine->lane().place.thread % warp_size;
    slot().words[0] = flag;
    if (machine->arrive_warp("vote", at)) machine->release_warp();
    uint32_t all = 0;
    for (uint32_t l = 0; l < warp_size; ++l) all |= slots[l].words[0] << l;
    return all;
}

void load_matrix(uint32_t* r, int matrices, bool transposed, const bf16* row, Site at) {
    Slot& mine = slot();
    const Lane& lane = machine->lane();
    mine.row = row;
    const auto* first = lane.place.shared;
    const auto* address = reinterpret_cast<const unsigned char*>(row);
    if (lane.place.thread % warp_size < static_cast<uint32_t>(8 * matrices)) {
        if (reinterpret_cast<uintptr_t>(address) % 16 != 0) {
            machine->fail("load_matrix at %s:%d: the row of thread %u is not aligned to 16 bytes", at.name(), at.line, lane.place.thread);
        }
        if (address < first || address + 16 > first + machine->launch().shared) {
            machine->fail("load_matrix at %s:%d: the row of thread %u is not in shared memory", at.name(), at.line, lane.place.thread);
        }
    }
    if (lane.place.thread % warp_size < static_cast<uint32_t>(8 * matrices)) races::reads(row, 16, __builtin_return_address(0));
    if (machine->arrive_warp(matrices == 4 ? "load_matrix_x4" : "load_matrix_x2", at)) {
        Slot* slots = &mine - lane.place.thread % warp_size;
        for (int j = 0; j < matrices; ++j) {
            uint16_t matrix[8][8];
            for (int i = 0; i < 8; ++i) std::memcpy(matrix[i], slots[8 * j + i].row, 16);
            for (uint32_t l = 0; l < warp_size; ++l) {
                const uint32_t group = l / 4, pair = 2 * (l % 4);
                const uint32_t low = transposed ? matrix[pair][group] : matrix[group][pair];
                const uint32_t high = transposed ? matrix[pair + 1][group] : matrix[group][pair + 1];
                slots[l].words[j] = low | high << 16;
            }
        }
        machine->release_warp();
    }
    for (int j = 0; j < matrices; ++j) r[j] = mine.words[j];
}

// Layout of the fragments: PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type". Sums run over k in
// float, one product after another; a card adds several products at once, with its own rounding.
void multiply(float* d, const uint32_t* a, const uint32_t* b, Site at) {
    Slot& mine = slot();
    for (int i = 0; i < 4; ++i) mine.words[i] = a[i];
    for (int i = 0; i < 2; ++i) mine.words[4 + i] = b[i];
    for (int i = 0; i < 4; ++i) mine.words[6 + i] = float_bits(d[i]);
    if (machine->arrive_warp("multiply_accumulate", at)) {
        Slot* slots = &mine - machine->lane().place.thread % warp_size;
        float left[16][16], right[16][8], sums[16][8];
        for (uint32_t l = 0; l < warp_size; ++l) {
            const uint32_t group = l / 4, pair = 2 * (l % 4);
            const uint32_t* words = slots[l].words;
            for (int half = 0; half < 2; ++half) {
                left[group][pair + half] = widen(words[0], half);
                left[group + 8][pair + half] = widen(words[1], half);
                left[group][pair + 8 + half] = widen(words[2], half);
                left[group + 8][pair + 8 + half] = widen(words[3], half);
                right[pair + half][group] = widen(words[4], half);
                right[pair + 8 + half][group] = widen(words[5], half);
                sums[group][pair + half] = float_of_bits(words[6 + half]);
                sums[group + 8][pair + half] = float_of_bits(words[8 + half]);
            }
        }
        add_product(sums, left, right);
        for (uint32_t l = 0; l < warp_size; ++l) {
            const uint32_t group = l / 4, pair = 2 * (l % 4);
            for (int half = 0; half < 2; ++half) {
                slots[l].words[6 + half] = float_bits(sums[group][pair + half]);
                slots[l].words[8 + half] = float_bits(sums[group + 8][pair + half]);
            }
        }
        machine->release_warp();
    }
    for (int i = 0; i < 4; ++i) d[i] = float_of_bits(mine.words[6 + i]);
}

} // namespace emulation
