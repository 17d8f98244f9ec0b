// Faults of the processor in a kernel.

#include "machine.h"

#include <csignal>
#include <cstdio>
#include <mutex>
#include <unistd.h>

namespace emulation {

namespace {

constexpr int signals[] = {SIGSEGV, SIGBUS, SIGFPE};
struct sigaction before[3];

void fault(int signal, siginfo_t*, void*) {
    // Formatting is not meant for signal handlers; the process ends here in any case.
    if (machine != nullptr) {
        char text[256];
        const int length = std::snprintf(text, sizeof text,
                                         "\nkernel %s, block %u, thread %u: %s\n(`operations_pass_under_sanitizers` shows the line)\n",
                                         machine->launch().kernel->name, here->block, here->thread,
                                         signal == SIGFPE ? "integer division by zero" : "an address that is nobody's, or too large a stack");
        if (write(STDERR_FILENO, text, static_cast<std::size_t>(length)) < 0) _exit(1);
    }
    // The instruction runs once more, for whoever came before.
    for (int i = 0; i < 3; ++i) {
        if (signals[i] == signal) sigaction(signal, &before[i], nullptr);
    }
}

} // namespace

void report_faults() {
    // The sanitizers' own report says more.
    if (SARM_EMULATION_ASAN) return;
    static std::once_flag once;
    std::call_once(once, [] {
        for (int i = 0; i < 3; ++i) {
            struct sigaction action = {};
            action.sa_sigaction = fault;
            // On the stack that the operating system's thread has for signals: a fiber's may be what overflowed.
            action.sa_flags = SA_SIGINFO | SA_ONSTACK;
            sigaction(signals[i], &action, &before[i]);
        }
    });
}

} // namespace emulation
