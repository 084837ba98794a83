#include "state.h"

#include <cstring>

#include "dtype.h"
#include "failure.h"
#include "file.h"
#include "json.h"

namespace runner {
namespace {

constexpr uint64_t kMaxHeaderBytes = 1 << 20;

[[noreturn]] void refuse(const std::string& reason) { throw Failure(Stage::state, reason); }

std::string header_of(const std::vector<TrainingProgram::NamedBuffer>& buffers, const std::string& session,
                      int64_t steps) {
  std::string header =
      "{\"__metadata__\":{\"session\":" + json_quoted(session) + ",\"steps\":\"" + std::to_string(steps) + "\"}";
  size_t offset = 0;
  for (const auto& [name, tensor] : buffers) {
    const Dtype* dtype = dtype_of(tensor.scalar_type());
    if (dtype == nullptr) refuse("The buffer " + name + " has a type that a state file can't hold.");
    header += "," + json_quoted(name) + ":{\"dtype\":\"" + dtype->safetensors + "\",\"shape\":[";
    for (ssize_t i = 0; i < tensor.dim(); ++i) header += (i == 0 ? "" : ",") + std::to_string(tensor.size(i));
    header += "],\"data_offsets\":[" + std::to_string(offset) + "," + std::to_string(offset + tensor.nbytes()) + "]}";
    offset += tensor.nbytes();
  }
  header += "}";
  while (header.size() % 8 != 0) header += ' ';  // keeps the values aligned
  return header;
}

struct Range {
  uint64_t begin;
  uint64_t end;
};

// Where the values of `tensor` are among the file's `bytes` of values. Its entry must describe exactly this tensor.
Range range_of(const Json& entry, const std::string& name, const executorch::aten::Tensor& tensor, uint64_t bytes) {
  const Json* dtype = entry.find("dtype");
  const Json* shape = entry.find("shape");
  const Json* offsets = entry.find("data_offsets");
  if (dtype == nullptr || shape == nullptr || offsets == nullptr || offsets->items().size() != 2 ||
      !offsets->items()[0].integer() || !offsets->items()[1].integer()) {
    refuse("The state file's entry " + name + " is incomplete.");
  }
  const Dtype* wanted = dtype_of(tensor.scalar_type());
  bool same = wanted != nullptr && dtype->string() == wanted->safetensors &&
              shape->items().size() == static_cast<size_t>(tensor.dim());
  std::string found;
  for (size_t i = 0; i < shape->items().size(); ++i) {
    const int64_t size = shape->items()[i].integer().value_or(-1);
    found += (i == 0 ? "" : ", ") + std::to_string(size);
    same = same && size == tensor.size(static_cast<ssize_t>(i));
  }
  const auto begin = static_cast<uint64_t>(*offsets->items()[0].integer());
  const auto end = static_cast<uint64_t>(*offsets->items()[1].integer());
  if (begin > end || end > bytes) {  // a negative offset is larger than any file
    refuse("The state file's entry " + name + " lies outside of its " + std::to_string(bytes) + " bytes of values.");
  }
  if (!same || end - begin != tensor.nbytes()) {
    refuse("The state file has " + name + " as " + dtype->string() + " [" + found + "], but the program as " +
           described(wanted, tensor.sizes()) + ".");
  }
  return {begin, end};
}

void restore(const File& file, TrainingProgram& program) {
  uint64_t length = 0;
  file.read_at(0, &length, sizeof length);
  if (length > kMaxHeaderBytes)
    refuse(file.path() + " is not a state file: its header would have " + std::to_string(length) + " bytes.");
  std::string text(length, '\0');
  file.read_at(sizeof length, text.data(), text.size());
  const uint64_t start = sizeof length + length;
  const Json header = Json::parse(text);
  if (header.kind() != Json::Kind::object) refuse(file.path() + " is not a state file: its header is not an object.");
  auto buffers = program.state();
  for (const auto& [name, entry] : header.members()) {
    if (name == "__metadata__") continue;
    bool known = false;
    for (auto& buffer : buffers) {
      if (buffer.name != name) continue;
      known = true;
      const Range range = range_of(entry, name, buffer.tensor, file.size() - start);
      file.read_at(start + range.begin, buffer.tensor.mutable_data_ptr(), range.end - range.begin);
    }
    if (!known) refuse("The state file has a tensor " + name + ", but the program has no such buffer.");
  }
}

}  // namespace

void save_state(TrainingProgram& program, const std::string& path, const std::string& session, int64_t steps) {
  const auto buffers = program.state();
  if (buffers.empty())
    refuse("The program has no named mutable buffer, so there is no state to write: export it with named buffers.");
  const std::string header = header_of(buffers, session, steps);
  const uint64_t length = header.size();
  try {
    ReplacedFile file(path);
    file.write(&length, sizeof length);
    file.write(header.data(), header.size());
    for (const auto& buffer : buffers) file.write(buffer.tensor.const_data_ptr(), buffer.tensor.nbytes());
    file.commit();
  } catch (const FileError& error) {
    refuse(std::string("The state can't be written: ") + error.what());
  }
}

void load_state(TrainingProgram& program, const std::string& path) {
  try {
    restore(File::open_to_read(path), program);
  } catch (const FileError& error) {
    refuse(std::string("The state can't be read: ") + error.what());
  } catch (const JsonError& error) {
    refuse("The header of " + path + " is not JSON: " + error.what() + ".");
  }
}

}  // namespace runner
