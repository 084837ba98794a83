#include "job.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "failure.h"
#include "file.h"
#include "json.h"

namespace runner {
namespace {

constexpr size_t kMaxJobBytes = 4 << 20;
constexpr int64_t kMaxCount = 1'000'000'000'000;
constexpr size_t kMaxItems = 256;  // inputs, files or sensors; each sensor may be a process
constexpr int64_t kMaxInputBytes = int64_t{1} << 32;

[[noreturn]] void refuse(const std::string& reason) { throw Failure(Stage::job, reason); }

// One object of the job. Every member must be read: done() refuses the others by name.
class Members {
 public:
  Members(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (json.kind() != Json::Kind::object) refuse(where_ + " must be an object.");
  }

  const Json* optional(const char* key) {
    known_.emplace_back(key);
    return json_.find(key);
  }

  const Json& required(const char* key) {
    const Json* value = optional(key);
    if (value == nullptr) refuse(at(key) + " is missing.");
    return *value;
  }

  std::string at(const std::string& key) const { return where_ + "." + key; }

  std::string text(const char* key) {
    const Json& value = required(key);
    if (value.kind() != Json::Kind::string || value.string().empty()) refuse(at(key) + " must be a non-empty string.");
    if (value.string().find('\0') != std::string::npos) refuse(at(key) + " contains a zero byte.");
    return value.string();
  }

  std::string text_or_empty(const char* key) { return json_.find(key) == nullptr ? (optional(key), "") : text(key); }

  int64_t integer(const char* key, int64_t low, int64_t high) { return as_integer(required(key), at(key), low, high); }

  double number(const char* key, double low, double high) {
    const Json& value = required(key);
    if (value.kind() != Json::Kind::number || !(value.number() >= low && value.number() <= high)) {
      refuse(at(key) + " must be a number from " + brief(low) + " to " + brief(high) + ".");
    }
    return value.number();
  }

  const std::vector<Json>& list(const char* key) {
    const Json& value = required(key);
    if (value.kind() != Json::Kind::array) refuse(at(key) + " must be a list.");
    return value.items();
  }

  const std::vector<Json>& short_list(const char* key) {
    const std::vector<Json>& items = list(key);
    if (items.size() > kMaxItems) {
      refuse(at(key) + " has " + std::to_string(items.size()) + " items; the limit is " + std::to_string(kMaxItems) +
             ".");
    }
    return items;
  }

  void done() const {
    for (const auto& [key, value] : json_.members()) {
      bool known = false;
      for (const std::string& name : known_) known = known || name == key;
      if (!known) refuse(at(key) + " is not a key of a job.");
    }
  }

  static int64_t as_integer(const Json& value, const std::string& where, int64_t low, int64_t high) {
    if (!value.integer() || *value.integer() < low || *value.integer() > high) {
      refuse(where + " must be a whole number from " + std::to_string(low) + " to " + std::to_string(high) + ".");
    }
    return *value.integer();
  }

 private:
  static std::string brief(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", value);
    return text;
  }

  const Json& json_;
  std::string where_;
  std::vector<std::string> known_;
};

template <typename T>
void append(std::vector<uint8_t>& bytes, T value) {
  const size_t at = bytes.size();
  bytes.resize(at + sizeof value);
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

void append_number(std::vector<uint8_t>& bytes, const Json& json, const Dtype& dtype, const std::string& where) {
  using executorch::aten::ScalarType;
  const auto whole = [&](int64_t low, int64_t high) { return Members::as_integer(json, where, low, high); };
  if (dtype.scalar_type == ScalarType::Float || dtype.scalar_type == ScalarType::Double) {
    if (json.kind() != Json::Kind::number) refuse(where + " must be a number.");
    const double value = json.number();
    if (dtype.scalar_type == ScalarType::Double) return append(bytes, value);
    if (std::fabs(value) > std::numeric_limits<float>::max()) refuse(where + " is too large for float32.");
    return append(bytes, static_cast<float>(value));
  }
  switch (dtype.scalar_type) {
    case ScalarType::Long: return append(bytes, whole(INT64_MIN, INT64_MAX));
    case ScalarType::Int: return append(bytes, static_cast<int32_t>(whole(INT32_MIN, INT32_MAX)));
    case ScalarType::Char: return append(bytes, static_cast<int8_t>(whole(INT8_MIN, INT8_MAX)));
    case ScalarType::Byte: return append(bytes, static_cast<uint8_t>(whole(0, UINT8_MAX)));
    case ScalarType::Bool: return append(bytes, static_cast<uint8_t>(whole(0, 1)));
    default: refuse(where + ": a value of type " + dtype.name + " must come from a file.");
  }
}

struct Place {
  std::string folder;

  std::string of(const std::string& path) const {
    return path.empty() || path[0] == '/' || folder.empty() ? path : folder + "/" + path;
  }
};

void read_shape(Members& members, InputSpec& input) {
  int64_t bytes = static_cast<int64_t>(input.dtype->bytes);
  const std::vector<Json>& sizes = members.list("shape");
  if (sizes.size() > 16) refuse(members.at("shape") + " has more than 16 dimensions.");
  for (const Json& size : sizes) {
    const int64_t value = Members::as_integer(size, members.at("shape"), 0, INT32_MAX);
    input.shape.push_back(static_cast<int32_t>(value));
    bytes *= value;
    if (bytes > kMaxInputBytes) refuse(members.at("shape") + " is larger than 4 GiB.");
  }
}

Constant read_constant(const std::vector<Json>& values, const InputSpec& input, const std::string& where) {
  Constant constant;
  for (const Json& value : values) append_number(constant.bytes, value, *input.dtype, where);
  if (constant.bytes.size() != input.bytes()) {
    refuse(where + " has " + std::to_string(values.size()) + " values, but its shape needs " +
           std::to_string(input.bytes() / input.dtype->bytes) + ".");
  }
  return constant;
}

InputSpec read_input(const Json& json, const std::string& where, const Place& place) {
  Members members(json, where);
  InputSpec input;
  input.name = members.text("name");
  const std::string dtype = members.text("dtype");
  input.dtype = dtype_named(dtype);
  if (input.dtype == nullptr) refuse(members.at("dtype") + ": unknown type \"" + dtype + "\".");
  read_shape(members, input);
  const Json* step_key = members.optional("step_key");
  const Json* value = members.optional("value");
  const Json* file = members.optional("file");
  if ((step_key != nullptr) + (value != nullptr) + (file != nullptr) != 1) {
    refuse(where + " needs exactly one of file, step_key and value.");
  }
  if (file != nullptr) {
    input.source = FileBatches{place.of(members.text("file")), members.integer("offset", 0, kMaxCount),
                               members.integer("batches", 1, kMaxCount)};
  } else if (step_key != nullptr) {
    if (dtype != "int64" || input.shape != std::vector<int32_t>{2})
      refuse(where + ": a step_key is int64 of shape [2].");
    Members key(*step_key, members.at("step_key"));
    const int64_t first = key.optional("first") == nullptr ? 0 : key.integer("first", 0, kMaxCount);
    input.source = StepKey{key.integer("seed", INT64_MIN, INT64_MAX), first};
    key.done();
  } else {
    input.source = read_constant(members.list("value"), input, members.at("value"));
  }
  members.done();
  return input;
}

WarmUpRule read_warm_up(const Json& json) {
  Members members(json, "job.warm_up");
  const WarmUpRule rule{members.integer("min_steps", 0, kMaxCount), members.integer("max_steps", 0, kMaxCount),
                        members.number("max_seconds", 0.0, 1e9), members.number("tolerance", 0.0, 1.0)};
  members.done();
  if (rule.max_steps < rule.min_steps) refuse("job.warm_up.max_steps is less than job.warm_up.min_steps.");
  return rule;
}

std::vector<std::string> read_command(Members& members) {
  std::vector<std::string> command;
  for (const Json& word : members.list("command")) {
    const bool usable = word.kind() == Json::Kind::string && word.string().find('\0') == std::string::npos;
    if (!usable) refuse(members.at("command") + " must be a list of strings without zero bytes.");
    command.push_back(word.string());
  }
  if (command.empty() || command[0].empty()) refuse(members.at("command") + " names no program.");
  return command;
}

std::optional<Range> read_range(Members& members) {
  if (members.optional("range") == nullptr) return std::nullopt;
  const std::vector<Json>& bounds = members.list("range");
  for (const Json& bound : bounds) {
    if (bound.kind() != Json::Kind::number) refuse(members.at("range") + " must hold numbers.");
  }
  if (bounds.size() != 2 || bounds[0].number() > bounds[1].number()) {
    refuse(members.at("range") + " must be the lowest and the highest value.");
  }
  return Range{bounds[0].number(), bounds[1].number()};
}

SensorSpec read_sensor(const Json& json, const std::string& where, const Place& place) {
  Members members(json, where);
  SensorSpec sensor{};
  sensor.name = members.text("name");
  sensor.quantity = members.text("quantity");
  const bool is_program = members.optional("command") != nullptr;
  if (is_program == (members.optional("path") != nullptr)) refuse(where + " needs exactly one of path and command.");
  if (is_program) {
    sensor.command = read_command(members);
  } else {
    sensor.path = place.of(members.text("path"));
    sensor.times = place.of(members.text_or_empty("times"));
  }
  sensor.field = members.text_or_empty("field");
  sensor.scale = members.number("scale", -1e12, 1e12);
  sensor.rate_hz = members.number("rate_hz", 0.001, 10000.0);
  sensor.range = read_range(members);
  members.done();
  return sensor;
}

std::vector<std::string> read_paths(Members& members, const char* key, const Place& place) {
  std::vector<std::string> paths;
  if (members.optional(key) == nullptr) return paths;
  for (const Json& path : members.short_list(key)) {
    const bool usable = path.kind() == Json::Kind::string && !path.string().empty() &&
                        path.string().find('\0') == std::string::npos;
    if (!usable) refuse(members.at(key) + " must be a list of files.");
    paths.push_back(place.of(path.string()));
  }
  return paths;
}

bool read_flag(Members& members, const char* key) {
  const Json* value = members.optional(key);
  if (value != nullptr && value->kind() != Json::Kind::boolean) refuse(members.at(key) + " must be true or false.");
  return value != nullptr && value->boolean();
}

std::vector<int> read_cpus(Members& members) {
  std::vector<int> cpus;
  if (members.optional("cpus") == nullptr) return cpus;
  for (const Json& cpu : members.list("cpus")) {
    cpus.push_back(static_cast<int>(Members::as_integer(cpu, "job.cpus", 0, 1023)));
  }
  if (cpus.empty()) refuse("job.cpus is empty: leave it out, or name at least one cpu.");
  return cpus;
}

Json parse_file(const std::string& path) {
  try {
    return Json::parse(read_file(path, kMaxJobBytes));
  } catch (const FileError& error) {
    refuse(std::string("The job can't be read: ") + error.what());
  } catch (const JsonError& error) {
    refuse("The job " + path + " is not JSON: " + error.what() + ".");
  }
}

}  // namespace

size_t InputSpec::bytes() const {
  size_t total = dtype->bytes;
  for (const int32_t size : shape) total *= static_cast<size_t>(size);
  return total;
}

Job read_job(const std::string& path) {
  const Json json = parse_file(path);
  const size_t slash = path.rfind('/');
  const Place place{slash == std::string::npos ? "" : slash == 0 ? "/" : path.substr(0, slash)};
  Members members(json, "job");
  members.integer("schema", 1, 1);
  Job job;
  job.session = members.text("session");
  job.program = place.of(members.text("program"));
  job.data = read_paths(members, "data", place);
  job.shorter = read_paths(members, "shorter", place);
  job.profile = read_flag(members, "profile");
  if (job.profile && !job.shorter.empty()) refuse("job.profile is for one program: leave out job.shorter.");
  job.memory_every =
      members.optional("memory_every") == nullptr ? 0 : members.integer("memory_every", 1, kMaxCount);
  job.method = members.text("method");
  for (const Json& input : members.short_list("inputs")) {
    job.inputs.push_back(read_input(input, "job.inputs[" + std::to_string(job.inputs.size()) + "]", place));
  }
  Members outputs(members.required("outputs"), "job.outputs");
  if (outputs.optional("losses") != nullptr) job.losses_output = outputs.integer("losses", 0, 1'000'000);
  outputs.done();
  job.warm_up = read_warm_up(members.required("warm_up"));
  job.steps = members.integer("steps", 0, kMaxCount);
  job.min_measured_seconds =
      members.optional("min_measured_seconds") == nullptr ? 0.0 : members.number("min_measured_seconds", 0.0, 1e9);
  job.threads = static_cast<uint32_t>(members.integer("threads", 1, 1024));
  job.cpus = read_cpus(members);
  job.kernels = members.text_or_empty("kernels");
  if (members.optional("sensors") != nullptr) {
    for (const Json& sensor : members.short_list("sensors")) {
      job.sensors.push_back(read_sensor(sensor, "job.sensors[" + std::to_string(job.sensors.size()) + "]", place));
    }
  }
  job.state_out = place.of(members.text_or_empty("state_out"));
  job.state_in = place.of(members.text_or_empty("state_in"));
  members.done();
  return job;
}

Job read_device_job(const std::string& path) {
  const Json json = parse_file(path);
  Members members(json, "job");
  members.integer("schema", 1, 1);
  Job job{};
  job.session = members.text("session");
  job.threads = static_cast<uint32_t>(members.integer("threads", 1, 1024));
  job.cpus = read_cpus(members);
  members.done();
  return job;
}

}  // namespace runner
