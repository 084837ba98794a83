#include "machine.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "failure.h"

namespace runner {
namespace {

// Grouped by meaning: x86 first, then aarch64, spelled as in /proc/cpuinfo.
constexpr const char* kFeatures[] = {
    "sse4_2",   "avx",         "avx2",        "fma",         "f16c",     "avx_vnni", "avx512f",  "avx512dq", "avx512bw",
    "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd",    "fphp",
    "asimdhp",  "asimdrdm",    "asimddp",     "asimdfhm",    "bf16",     "i8mm",     "sve",      "sve2",     "sme"};

// The value of the first line "name : value" in /proc/cpuinfo, empty when there is none.
std::string cpuinfo(const std::string& name) {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.compare(0, name.size(), name) != 0) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos || line.find_first_not_of(" \t", name.size()) != colon) continue;
    const size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

std::string cpu_model() {
  for (const char* name : {"model name", "Model", "Hardware"}) {
    const std::string model = cpuinfo(name);
    if (!model.empty()) return model;
  }
  // The first is a link to the second, and is missing where /proc is not the kernel's own.
  for (const char* path : {"/proc/device-tree/model", "/sys/firmware/devicetree/base/model"}) {
    std::ifstream file(path);
    std::string model;
    std::getline(file, model, '\0');
    if (!model.empty()) return model;
  }
  const std::string part = cpuinfo("CPU part");
  return part.empty() ? "unknown" : "implementer " + cpuinfo("CPU implementer") + " part " + part;
}

std::vector<std::string> cpu_features() {
  std::istringstream flags(cpuinfo("flags") + " " + cpuinfo("Features"));
  std::vector<std::string> found;
  for (std::string flag; flags >> flag;) {
    for (const char* feature : kFeatures) {
      if (flag == feature) found.push_back(flag);
    }
  }
  return found;
}

bool pinned = false;
cpu_set_t before_pinning;

}  // namespace

Machine describe_machine() {
  utsname names;
  const bool known = ::uname(&names) == 0;
  return {known ? names.machine : "unknown", known ? names.release : "unknown", cpu_model(), cpu_features(),
          static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN))};
}

std::vector<int> pin_to_cpus(const std::vector<int>& cpus) {
  cpu_set_t set;
  if (!cpus.empty()) {
    pinned = ::sched_getaffinity(0, sizeof before_pinning, &before_pinning) == 0;
    CPU_ZERO(&set);
    for (const int cpu : cpus) CPU_SET(static_cast<size_t>(cpu), &set);
    if (::sched_setaffinity(0, sizeof set, &set) != 0) {
      throw Failure(Stage::job, std::string("The cpus of the job can't be used: ") + std::strerror(errno) +
                                    "; choose from those that are online.");
    }
  }
  std::vector<int> allowed;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(static_cast<size_t>(cpu), &set)) allowed.push_back(cpu);
    }
  }
  if (!cpus.empty() && allowed.size() != cpus.size()) {
    throw Failure(Stage::job, "Only " + std::to_string(allowed.size()) + " of the " + std::to_string(cpus.size()) +
                                  " cpus of the job are available; choose from those that are online.");
  }
  return allowed;
}

void undo_pinning() {
  if (pinned) ::sched_setaffinity(0, sizeof before_pinning, &before_pinning);
}

}  // namespace runner
