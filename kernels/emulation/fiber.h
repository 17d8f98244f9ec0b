// A thread of execution with its own stack that runs until it hands over by itself.
#pragma once

#include "races.h"

#include <cstddef>

#if defined(__x86_64__) && !defined(SARM_EMULATION_UCONTEXT)
#define SARM_EMULATION_SWITCH 1
#else
#define SARM_EMULATION_SWITCH 0
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SARM_EMULATION_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SARM_EMULATION_ASAN 1
#endif
#endif
#ifndef SARM_EMULATION_ASAN
#define SARM_EMULATION_ASAN 0
#endif

namespace emulation {

// One context: a fiber's, or the one that an operating system thread came with.
struct Fiber {
    // Lowest byte and size of the stack; of an operating system's thread they are learnt at its first switch.
    char* stack = nullptr;
    std::size_t size = 0;
#if SARM_EMULATION_SWITCH
    void* top = nullptr;
#else
    ucontext_t context;
#endif
#if SARM_EMULATION_ASAN
    void* fake = nullptr;
#endif
    // Its fiber in ThreadSanitizer.
    void* watched = nullptr;
};

// Make `fiber` begin at `entry` (which never returns) when it is switched to, on its stack lowered by `shift`
// bytes, a multiple of 16 and at most 8 KiB. What ran on it before has handed over in its first frames, or was abandoned.
void prepare(Fiber& fiber, void (*entry)(), std::size_t shift);

// Go on in `to`; comes back when something switches to `from`.
void switch_fiber(Fiber& from, Fiber& to);

// To be called first by an `entry`: it came from `from`.
void entered(Fiber& from);

// Stacks with a page below each that faults.
class Stacks {
public:
    Stacks() = default;
    Stacks(const Stacks&) = delete;
    Stacks& operator=(const Stacks&) = delete;
    ~Stacks() { release(); }

    // At least `count` stacks, all of which may move. False where there is no memory.
    bool reserve(std::size_t count);
    // The fibers on all of them stopped somewhere, and will not go on.
    void abandon();
    char* stack(std::size_t i) const;
    static std::size_t size();

private:
    void release();

    char* memory_ = nullptr;
    std::size_t count_ = 0;
};

} // namespace emulation
