#include "runtime_log.h"

#include <executorch/runtime/platform/platform.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <mutex>

#include "file.h"

namespace runner {
namespace {

constexpr size_t kKept = 3;         // messages: the first names the cause, later ones the callers that passed it on
constexpr size_t kMaxLength = 240;  // bytes of a message that are kept

std::mutex mutex;
std::deque<std::string> messages;
char last_message[kMaxLength + 1];

// The runtime reports missing operators one by one, and then that some were missing: the first messages matter most.
void keep(et_timestamp_t, et_pal_log_level_t level, const char*, const char*, size_t, const char* message,
          size_t length) {
  if (level != kError && level != kFatal) return;
  std::string text(message, std::min(length, kMaxLength));
  std::lock_guard<std::mutex> lock(mutex);
  std::string safe = text;
  for (char& c : safe) {
    if (c < ' ' || c > '~' || c == '"' || c == '\\') c = ' ';
  }
  std::memcpy(last_message, safe.c_str(), safe.size() + 1);
  if (messages.size() < kKept && (messages.empty() || messages.back() != text)) messages.push_back(text);
  text = "executorch: " + text + "\n";
  (void)write_all(2, text.data(), text.size());
}

}  // namespace

void capture_runtime_log() { executorch::runtime::register_pal(executorch::runtime::PalImpl::create(keep, __FILE__)); }

std::string runtime_messages() {
  std::lock_guard<std::mutex> lock(mutex);
  std::string joined;
  for (const std::string& message : messages) joined += (joined.empty() ? "" : "; ") + message;
  return joined;
}

void forget_runtime_messages() {
  std::lock_guard<std::mutex> lock(mutex);
  messages.clear();
  last_message[0] = '\0';
}

const char* last_runtime_message() { return last_message; }

}  // namespace runner
