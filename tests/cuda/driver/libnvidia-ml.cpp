// An imitation of NVML, as much of it as sarm calls (src/device/cuda/driver/energy.rs). One card has a counter, which goes on
// by 1.5 J whenever it is read; another has none.

#include <cstring>

namespace {
int users = 0;
unsigned long long millijoules = 1000;
int with_counter, without_counter;
} // namespace

#define CALL(name, ...) extern "C" __attribute__((visibility("default"))) unsigned name(__VA_ARGS__)

CALL(imitation_users) { return users; }
CALL(nvmlInit_v2) { ++users; return 0; }
CALL(nvmlShutdown) { --users; return 0; }
CALL(nvmlDeviceGetHandleByUUID, const char* name, void** device) {
    const char* sevens = "GPU-07070707-0707-0707-0707-070707070707";
    const char* nines = "GPU-09090909-0909-0909-0909-090909090909";
    if (!std::strcmp(name, sevens)) *device = &with_counter;
    else if (!std::strcmp(name + 3, nines + 3)) *device = &without_counter;
    else return 6; // not found
    return 0;
}
CALL(nvmlDeviceGetTotalEnergyConsumption, void* device, unsigned long long* energy) {
    if (users == 0) return 1; // uninitialised
    if (device != &with_counter) return 3; // not supported
    *energy = millijoules += 1500;
    return 0;
}
