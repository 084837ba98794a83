// A strict JSON reader (RFC 8259) for the job file and the header of a state file, and the escaping for output.
//
// Small on purpose: the runner is built with nothing but pip's packages, and none of them has a JSON header.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runner {

// What is wrong with the text, with line and column.
class JsonError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Json {
 public:
  enum class Kind { null, boolean, number, string, array, object };

  // Nesting deeper than 32, a key that occurs twice, text that is not UTF-8 and anything after the value are errors.
  static Json parse(std::string_view text);

  Kind kind() const { return kind_; }
  bool boolean() const { return boolean_; }
  double number() const { return number_; }
  // The number, if it was written without a fraction or an exponent and fits.
  std::optional<int64_t> integer() const { return integer_; }
  const std::string& string() const { return string_; }
  const std::vector<Json>& items() const { return items_; }
  const std::vector<std::pair<std::string, Json>>& members() const { return members_; }
  // nullptr when there is no such member.
  const Json* find(std::string_view key) const;

 private:
  friend class JsonParser;
  Kind kind_ = Kind::null;
  bool boolean_ = false;
  double number_ = 0.0;
  std::optional<int64_t> integer_;
  std::string string_;
  std::vector<Json> items_;
  std::vector<std::pair<std::string, Json>> members_;
};

// `text` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD.
std::string json_quoted(std::string_view text);

}  // namespace runner
