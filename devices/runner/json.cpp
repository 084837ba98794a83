#include "json.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <unordered_set>

namespace runner {
namespace {

constexpr int kMaxDepth = 32;

// Length of the UTF-8 sequence at the start of `text`, 0 when there is none (Unicode 15, table 3-7).
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto continues = [&](size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned first = byte(0);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool ranged = !(first == 0xE0 && byte(1) < 0xA0) && !(first == 0xED && byte(1) > 0x9F);
    return ranged && continues(1) && continues(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool ranged = !(first == 0xF0 && byte(1) < 0x90) && !(first == 0xF4 && byte(1) > 0x8F);
    return ranged && continues(1) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

void append_utf8(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

}  // namespace

class JsonParser {
 public:
  explicit JsonParser(std::string_view text) : text_(text) {}

  Json document() {
    Json value = parse_value(0);
    skip_space();
    if (at_ < text_.size()) fail("text after the value");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    size_t line = 1;
    size_t column = 1;
    for (size_t i = 0; i < at_ && i < text_.size(); ++i) {
      column = text_[i] == '\n' ? 1 : column + 1;
      line += text_[i] == '\n';
    }
    throw JsonError(what + " at line " + std::to_string(line) + ", column " + std::to_string(column));
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() {
    while (at_ < text_.size() && (peek() == ' ' || peek() == '\n' || peek() == '\t' || peek() == '\r')) ++at_;
  }

  void expect(char wanted) {
    if (at_ >= text_.size() || peek() != wanted) fail(std::string("expected '") + wanted + "'");
    ++at_;
  }

  bool take_word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Json parse_value(int depth) {
    if (depth > kMaxDepth) fail("nesting deeper than " + std::to_string(kMaxDepth));
    skip_space();
    Json value;
    if (peek() == '{') {
      parse_object(value, depth);
    } else if (peek() == '[') {
      parse_array(value, depth);
    } else if (peek() == '"') {
      value.kind_ = Json::Kind::string;
      value.string_ = parse_string();
    } else if (take_word("true") || take_word("false")) {
      value.kind_ = Json::Kind::boolean;
      value.boolean_ = text_[at_ - 2] == 'u';
    } else if (!take_word("null")) {
      parse_number(value);
    }
    return value;
  }

  void parse_object(Json& value, int depth) {
    value.kind_ = Json::Kind::object;
    expect('{');
    skip_space();
    if (peek() == '}') {
      ++at_;
      return;
    }
    std::unordered_set<std::string> keys;
    while (true) {
      skip_space();
      std::string key = parse_string();
      if (!keys.insert(key).second) fail("key \"" + key + "\" occurs twice");
      skip_space();
      expect(':');
      value.members_.emplace_back(std::move(key), parse_value(depth + 1));
      skip_space();
      if (peek() != ',') break;
      ++at_;
    }
    expect('}');
  }

  void parse_array(Json& value, int depth) {
    value.kind_ = Json::Kind::array;
    expect('[');
    skip_space();
    if (peek() == ']') {
      ++at_;
      return;
    }
    while (true) {
      value.items_.push_back(parse_value(depth + 1));
      skip_space();
      if (peek() != ',') break;
      ++at_;
    }
    expect(']');
  }

  size_t take_digits() {
    const size_t start = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ - start;
  }

  void parse_number(Json& value) {
    const size_t start = at_;
    bool whole = true;
    if (peek() == '-') ++at_;
    const bool zero = peek() == '0';
    const size_t digits = take_digits();
    if (digits == 0) fail("expected a value");
    if (zero && digits > 1) fail("a number with a leading zero");
    if (peek() == '.') {
      whole = false;
      ++at_;
      if (take_digits() == 0) fail("expected a digit");
    }
    if (peek() == 'e' || peek() == 'E') {
      whole = false;
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      if (take_digits() == 0) fail("expected a digit");
    }
    const std::string text(text_.substr(start, at_ - start));
    value.kind_ = Json::Kind::number;
    value.number_ = std::strtod(text.c_str(), nullptr);
    if (!std::isfinite(value.number_)) fail("a number too large for float64");
    if (whole) {
      errno = 0;
      const long long parsed = std::strtoll(text.c_str(), nullptr, 10);
      if (errno == 0) value.integer_ = parsed;
    }
  }

  uint32_t parse_hex4() {
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = peek();
      const bool digit = c >= '0' && c <= '9';
      const char lower = static_cast<char>(c | 0x20);
      if (!digit && !(lower >= 'a' && lower <= 'f')) fail("expected four hexadecimal digits");
      code = code * 16 + static_cast<uint32_t>(digit ? c - '0' : lower - 'a' + 10);
    }
    return code;
  }

  uint32_t parse_unicode_escape() {
    const uint32_t high = parse_hex4();
    if (high >= 0xDC00 && high <= 0xDFFF) fail("half of a surrogate pair");
    if (high < 0xD800 || high > 0xDBFF) return high;
    if (!take_word("\\u")) fail("half of a surrogate pair");
    const uint32_t low = parse_hex4();
    if (low < 0xDC00 || low > 0xDFFF) fail("half of a surrogate pair");
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }

  void parse_escape(std::string& out) {
    static constexpr std::string_view kLetters = "\"\\/bfnrt";
    static constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    const char letter = peek();
    ++at_;
    if (letter == 'u') {
      append_utf8(out, parse_unicode_escape());
      return;
    }
    const size_t index = letter == '\0' ? std::string_view::npos : kLetters.find(letter);
    if (index == std::string_view::npos) fail("unknown escape");
    out += kMeanings[index];
  }

  std::string parse_string() {
    expect('"');
    std::string out;
    while (peek() != '"') {
      if (at_ >= text_.size()) fail("an unterminated string");
      if (peek() == '\\') {
        ++at_;
        parse_escape(out);
        continue;
      }
      if (static_cast<unsigned char>(peek()) < 0x20) fail("a control character in a string");
      const size_t length = utf8_length(text_.substr(at_));
      if (length == 0) fail("text that is not UTF-8");
      out += text_.substr(at_, length);
      at_ += length;
    }
    ++at_;
    return out;
  }

  std::string_view text_;
  size_t at_ = 0;
};

Json Json::parse(std::string_view text) { return JsonParser(text).document(); }

const Json* Json::find(std::string_view key) const {
  for (const auto& [name, value] : members_) {
    if (name == key) return &value;
  }
  return nullptr;
}

std::string json_quoted(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const auto byte = static_cast<unsigned char>(text[0]);
    const size_t length = utf8_length(text);
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += text[0];
    } else if (byte < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      out += escape;
    } else {
      out += length == 0 ? std::string_view("\\ufffd") : text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out + '"';
}

}  // namespace runner
