#include "events.h"

#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "clock.h"
#include "file.h"
#include "json.h"
#include "kernels/simd.h"
#include "process_status.h"
#include "sampler.h"
#include "signals.h"

namespace runner {
namespace {

// One event, member by member.
class Line {
 public:
  explicit Line(const char* event) : text_(std::string("{\"event\":\"") + event + '"') {}

  Line& raw(const char* key, const std::string& json) {
    text_ += std::string(",\"") + key + "\":" + json;
    return *this;
  }
  Line& number(const char* key, int64_t value) { return raw(key, std::to_string(value)); }
  // A count that may be unknown (-1).
  Line& count(const char* key, int64_t value) { return value < 0 ? raw(key, "null") : number(key, value); }
  Line& text(const char* key, const std::string& value) { return raw(key, json_quoted(value)); }
  std::string done() const { return text_ + "}\n"; }

 private:
  std::string text_;
};

// Enough digits to read the same value back; JSON has no NaN or infinity.
std::string real(double value, int digits) {
  if (std::isnan(value)) return "\"nan\"";
  if (std::isinf(value)) return value > 0 ? "\"inf\"" : "\"-inf\"";
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

template <typename Items, typename Format>
std::string list(const Items& items, Format format) {
  std::string text = "[";
  for (const auto& item : items) text += (text.size() == 1 ? "" : ",") + format(item);
  return text + "]";
}

}  // namespace

void Events::print(const std::string& lines, int64_t count) {
  note_printing(true);
  if (!write_all(fd_, lines.data(), lines.size())) {
    throw OutputLost(std::string("The runner's output can't be written: ") + std::strerror(errno) + ".");
  }
  note_printing(false);
  lines_ += count;
}

void Events::header(const Job& job, const Machine& machine, int64_t threads, const std::vector<int>& cpus) {
  std::vector<const char*> variants;
  for (size_t i = 0; prge::simd_variant(i) != nullptr; ++i) variants.push_back(prge::simd_variant(i)->name);
  print(Line("header")
            .number("schema", 1)
            .text("session", job.session)
            .text("runner", RUNNER_VERSION)
            .text("clock", "CLOCK_MONOTONIC")
            .number("t_ns", now_ns())
            .number("pid", ::getpid())
            .text("machine", machine.architecture)
            .text("kernel", machine.kernel)
            .text("cpu", machine.cpu)
            .number("cpu_count", machine.cpu_count)
            .raw("cpu_features", list(machine.features, [](const std::string& name) { return json_quoted(name); }))
            .number("threads", threads)
            .raw("cpus_allowed", list(cpus, [](int cpu) { return std::to_string(cpu); }))
            .text("executorch", EXECUTORCH_VERSION)
            .text("kernels", prge::simd_loops().name)
            .raw("variants", list(variants, [](const char* name) { return json_quoted(name); }))
            .done());
}

void Events::load(int64_t t0_ns, int64_t t1_ns, size_t program_bytes) {
  const ProcessStatus status = process_status();
  print(Line("load")
            .number("t0_ns", t0_ns)
            .number("t1_ns", t1_ns)
            .count("rss_kib", status.rss_kib)
            .count("hwm_kib", status.hwm_kib)
            .count("swap_kib", status.swap_kib)
            .number("program_bytes", static_cast<int64_t>(program_bytes))
            .done());
}

void Events::step(int64_t index, bool measured, int64_t t0_ns, int64_t t1_ns, const std::vector<float>& losses,
                  std::optional<int64_t> length, std::optional<Allocations> allocations) {
  Line line("step");
  line.number("index", index)
      .text("phase", measured ? "measured" : "warm_up")
      .number("t0_ns", t0_ns)
      .number("t1_ns", t1_ns)
      .raw("losses", list(losses, [](float loss) { return real(loss, 9); }));
  if (length) line.number("length", *length);
  if (allocations) line.number("allocations", allocations->count).number("allocated_bytes", allocations->bytes);
  print(line.done());
}

void Events::memory(int64_t step) {
  const MemoryUse use = memory_use();
  std::string reasons;
  for (const auto& [name, reason] : use.unavailable) reasons += "," + json_quoted(name) + ":" + json_quoted(reason);
  if (why_no_allocations() != nullptr) reasons += ",\"allocations\":" + json_quoted(why_no_allocations());
  print(Line("memory")
            .number("step", step)
            .number("t_ns", now_ns())
            .count("rss_kib", use.rss_kib)
            .count("pss_kib", use.pss_kib)
            .count("anonymous_kib", use.anonymous_kib)
            .count("swap_kib", use.swap_kib)
            .count("heap_used_kib", use.heap_used_kib)
            .count("heap_held_kib", use.heap_held_kib)
            .raw("unavailable", "{" + reasons.substr(reasons.empty() ? 0 : 1) + "}")
            .done());
}

void Events::profile(int64_t step, const Profile& profile) {
  std::string lines;
  int64_t count = 0;
  for (const auto& [instruction, parts] : profile.parts()) {
    if (!parts.changed) continue;
    lines += Line("parts")
                 .number("instruction", instruction)
                 .raw("names", list(parts.names, [](const std::string& name) { return json_quoted(name); }))
                 .done();
    ++count;
  }
  for (const Call& call : profile.calls()) {
    lines += Line("call")
                 .number("step", step)
                 .number("instruction", call.instruction)
                 .number("t0_ns", call.t0_ns)
                 .number("t1_ns", call.t1_ns)
                 .raw("of_threads", call.of_threads ? "true" : "false")
                 .raw("parts_ns", list(call.parts_ns, [](int64_t ns) { return std::to_string(ns); }))
                 .done();
  }
  if (!lines.empty()) print(lines, count + static_cast<int64_t>(profile.calls().size()));
}

void Events::samples(const std::vector<Sample>& samples, const std::vector<SensorSpec>& sensors) {
  std::string lines;
  for (const Sample& sample : samples) {
    lines += Line("sample")
                 .number("t_ns", sample.t_ns)
                 .text("sensor", sensors[sample.sensor].name)
                 .raw("value", real(sample.value, 15))
                 .done();
  }
  if (!lines.empty()) print(lines, static_cast<int64_t>(samples.size()));
}

void Events::sensor_errors(const std::vector<SensorErrors>& errors, const std::vector<SensorSpec>& sensors) {
  for (size_t i = 0; i < errors.size(); ++i) {
    if (errors[i].count == 0) continue;
    print(Line("sensor_error")
              .text("sensor", sensors[i].name)
              .number("errors", errors[i].count)
              .text("reason", errors[i].reason)
              .done());
  }
}

void Events::peak(const Peak& peak) {
  if (peak.ns.empty()) return;
  print(Line("peak")
            .text("of", peak.of)
            .text("by", peak.by)
            .text("unit", peak.unit)
            .number("count", peak.count)
            .number("made", peak.made)
            .count("buffer_bytes", peak.buffer_bytes)
            .raw("ns", list(peak.ns, [](int64_t ns) { return std::to_string(ns); }))
            .done());
}

void Events::product(const ProductTimes& product) {
  print(Line("product")
            .text("weights", product.weights)
            .text("kernels", product.kernels)
            .raw("ns", list(product.ns, [](int64_t ns) { return std::to_string(ns); }))
            .done());
}

void Events::footer(const Footer& footer) {
  char code[16];
  std::snprintf(code, sizeof code, "\"0x%02" PRIx32 "\"", footer.error_code.value_or(0));
  const ProcessStatus status = process_status();
  print(Line("footer")
            .text("cause", footer.cause)
            .text("reason", footer.reason)
            .raw("error_code", footer.error_code ? code : "null")
            .raw("stage", footer.stage ? json_quoted(stage_name(*footer.stage)) : "null")
            .number("steps", footer.steps)
            .count("hwm_kib", status.hwm_kib)
            .count("swap_kib", status.swap_kib)
            .count("minor_faults", status.minor_faults)
            .count("major_faults", status.major_faults)
            .number("sampler_cpu_ns", sampler_cpu_ns())
            .number("t_ns", now_ns())
            .done());
}

void Events::end() { print(Line("end").number("lines", lines_).done()); }

}  // namespace runner
