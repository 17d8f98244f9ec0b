// What ThreadSanitizer is told where it watches: who runs, and what orders one thread of a launch after another.
//
// Kernels alone are compiled with -fsanitize=thread. The emulation is not, so that its slots, turns and switches order nothing: a shuffle or a
// vote hands values over and no memory, as on a card. Without SARM_EMULATION_RACES nothing here does anything.
#pragma once

#include <cstddef>

#ifndef SARM_EMULATION_RACES
#define SARM_EMULATION_RACES 0
#endif

#if SARM_EMULATION_RACES
// Of libtsan; the header that has some of them comes with clang alone.
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* clock);
void __tsan_release(void* clock);
void __tsan_read_range_pc(void* from, unsigned long bytes, void* pc);
void __tsan_write_range_pc(void* to, unsigned long bytes, void* pc);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace emulation::races {

constexpr bool watched = SARM_EMULATION_RACES;

// Known by its address: what has released it comes before what acquires it afterwards.
struct alignas(8) Clock {
    char bytes[8];
};

#if SARM_EMULATION_RACES
// Of __tsan_switch_to_fiber: what one fiber did does not come before what the next one does.
constexpr unsigned no_order = 1;

inline void* current() { return __tsan_get_current_fiber(); }
inline void* create() { return __tsan_create_fiber(0); }
inline void destroy(void* fiber) { __tsan_destroy_fiber(fiber); }
inline void switch_to(void* fiber) { __tsan_switch_to_fiber(fiber, no_order); }
inline void acquire(Clock& clock) { __tsan_acquire(&clock); }
inline void release(Clock& clock) { __tsan_release(&clock); }
// At `pc`, an address in the kernel.
inline void reads(const void* from, std::size_t bytes, void* pc) { __tsan_read_range_pc(const_cast<void*>(from), bytes, pc); }
inline void writes(void* to, std::size_t bytes, void* pc) { __tsan_write_range_pc(to, bytes, pc); }

// While it lives, memory that is given back and taken is forgotten, and accesses are not seen.
struct Unseen {
    Unseen() {
        AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
        AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    }
    ~Unseen() {
        AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
        AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    }
    Unseen(const Unseen&) = delete;
    Unseen& operator=(const Unseen&) = delete;
};
#else
inline void* current() { return nullptr; }
inline void* create() { return nullptr; }
inline void destroy(void*) {}
inline void switch_to(void*) {}
inline void acquire(Clock&) {}
inline void release(Clock&) {}
inline void reads(const void*, std::size_t, void*) {}
inline void writes(void*, std::size_t, void*) {}
struct Unseen {
    Unseen() {}
};
#endif

} // namespace emulation::races
