// Decoder steps as small state machines.
#include "runtime/tokenizer/decoder.hpp"

#include <cctype>
#include <functional>
#include <optional>

#include "runtime/tokenizer/byte_letters.hpp"
#include "runtime/tokenizer/normalizer.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace sluice {

/// A step hands what it makes of a token to `next`.
class Decoder::Step {
 public:
  using Next = std::function<void(std::string_view)>;

  Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  virtual ~Step() = default;

  virtual void push(std::string_view token, const Next& next) = 0;
  virtual void finish(const Next&) {}
  virtual void drop_complete() {}
};

namespace {

using Step = Decoder::Step;

class ByteLevelStep : public Step {
 public:
  void push(std::string_view token, const Next& next) override {
    std::string bytes, text;
    append_bytes(token, bytes);
    stream_.push(bytes, text);
    next(text);
  }
  void finish(const Next& next) override {
    std::string text;
    stream_.finish(text);
    next(text);
  }

 private:
  static void append_bytes(std::string_view token, std::string& bytes) {
    std::size_t size = 0;
    for (std::size_t at = 0; at < token.size(); at += size) {
      const auto byte = letter_byte(utf8_front(token.substr(at), size));
      if (!byte) {  // one foreign character makes the whole token plain text
        bytes = token;
        return;
      }
      bytes.push_back(static_cast<char>(*byte));
    }
  }
  Utf8Stream stream_;
};

/// One bad byte spoils its whole run of bytes, so a run that is good so far goes out when it ends,
/// a spoiled one at once.
class ByteFallbackStep : public Step {
 public:
  void push(std::string_view token, const Next& next) override {
    if (const auto byte = byte_of(token)) {
      push_byte(*byte, next);
    } else {
      flush(next);
      next(token);
    }
  }
  void finish(const Next& next) override { flush(next); }
  void drop_complete() override { sent_ = whole_; }

 private:
  static std::optional<std::uint8_t> byte_of(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
    const auto digit = [](char c) {
      return c <= '9' ? c - '0' : std::tolower(static_cast<unsigned char>(c)) - 'a' + 10;
    };
    const auto is_digit = [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; };
    // Rust's from_str_radix also takes a sign.
    if (token[3] == '+' && is_digit(token[4])) return static_cast<std::uint8_t>(digit(token[4]));
    if (!is_digit(token[3]) || !is_digit(token[4])) return std::nullopt;
    return static_cast<std::uint8_t>(digit(token[3]) << 4 | digit(token[4]));
  }
  void push_byte(std::uint8_t byte, const Next& next) {
    if (spoiled_) return next(kReplacementCharacter);
    run_.push_back(static_cast<char>(byte));
    const Utf8Head head = utf8_head(std::string_view(run_).substr(whole_));
    if (head.kind == Utf8Head::Kind::kCharacter) whole_ = run_.size();
    if (head.kind == Utf8Head::Kind::kIllFormed) spoil(next);
  }
  void spoil(const Next& next) {
    for (std::size_t i = sent_; i < run_.size(); ++i) next(kReplacementCharacter);
    spoiled_ = true;
  }
  void flush(const Next& next) {
    if (!spoiled_ && whole_ < run_.size()) spoil(next);
    if (!spoiled_ && sent_ < run_.size()) next(std::string_view(run_).substr(sent_));
    run_.clear();
    whole_ = sent_ = 0;
    spoiled_ = false;
  }

  std::string run_;
  std::size_t whole_ = 0;  ///< bytes of it that are whole characters
  std::size_t sent_ = 0;   ///< bytes that are not to go out (again)
  bool spoiled_ = false;
};

class ReplaceStep : public Step {
 public:
  explicit ReplaceStep(Decoder::Replace spec) : spec_(std::move(spec)) {}
  void push(std::string_view token, const Next& next) override {
    next(replace_all(token, spec_.pattern, spec_.content));
  }

 private:
  Decoder::Replace spec_;
};

class MetaspaceStep : public Step {
 public:
  explicit MetaspaceStep(Decoder::Metaspace spec) : spec_(std::move(spec)) {}
  void push(std::string_view token, const Next& next) override {
    const bool drop = first_ && spec_.prepend != Decoder::Metaspace::Prepend::kNever;
    first_ = false;
    next(replace_all(token, spec_.replacement, drop ? "" : " "));
  }

 private:
  Decoder::Metaspace spec_;
  bool first_ = true;
};

class SuffixStep : public Step {
 public:
  explicit SuffixStep(Decoder::Suffix spec) : spec_(std::move(spec)) {}
  void push(std::string_view token, const Next& next) override {
    if (held_) next(replace_all(*held_, spec_.suffix, " "));
    held_ = token;
  }
  void finish(const Next& next) override {
    if (held_) next(replace_all(*held_, spec_.suffix, ""));
    held_.reset();
  }

 private:
  Decoder::Suffix spec_;
  std::optional<std::string> held_;
};

class JoinStep : public Step {
 public:
  void push(std::string_view token, const Next& next) override {
    if (!first_) next(" ");
    first_ = false;
    next(token);
  }

 private:
  bool first_ = true;
};

/// Strips each token.
class StripStep : public Step {
 public:
  explicit StripStep(Decoder::Strip spec) : start_(spec.start), stop_(spec.stop) {
    append_utf8(content_, spec.content);
  }
  void push(std::string_view token, const Next& next) override {
    for (std::size_t i = 0; i < start_ && token.starts_with(content_); ++i) {
      token.remove_prefix(content_.size());
    }
    for (std::size_t i = 0; i < stop_ && token.ends_with(content_); ++i) {
      token.remove_suffix(content_.size());
    }
    next(token);
  }

 private:
  std::string content_;
  std::size_t start_;
  std::size_t stop_;
};

/// Strips one token that arrives in fragments of whole characters.
class FusedStripStep : public Step {
 public:
  explicit FusedStripStep(Decoder::Strip spec) : start_left_(spec.start), stop_(spec.stop) {
    append_utf8(content_, spec.content);
  }
  void push(std::string_view fragment, const Next& next) override {
    for (; start_left_ > 0 && fragment.starts_with(content_); --start_left_) {
      fragment.remove_prefix(content_.size());
    }
    if (fragment.empty()) return;
    start_left_ = 0;
    std::string text = std::move(held_) + std::string(fragment);
    std::size_t end = text.size();
    for (std::size_t i = 0; i < stop_ && std::string_view(text).substr(0, end).ends_with(content_);
         ++i) {
      end -= content_.size();
    }
    held_ = text.substr(end);
    next(std::string_view(text).substr(0, end));
  }

 private:
  std::string content_;
  std::size_t start_left_;
  std::size_t stop_;
  std::string held_;
};

/// Joins all tokens for a step that works on whole tokens and comes after Fuse or ByteLevel.
class BufferStep : public Step {
 public:
  void push(std::string_view fragment, const Next&) override { text_ += fragment; }
  void finish(const Next& next) override { next(text_); }

 private:
  std::string text_;
};

class PassStep : public Step {
 public:
  void push(std::string_view token, const Next& next) override { next(token); }
};

struct MakeStep {
  bool fused;

  std::unique_ptr<Step> operator()(const Decoder::ByteLevel&) const {
    return std::make_unique<ByteLevelStep>();
  }
  std::unique_ptr<Step> operator()(const Decoder::ByteFallback&) const {
    return std::make_unique<ByteFallbackStep>();
  }
  std::unique_ptr<Step> operator()(const Decoder::Fuse&) const {
    return std::make_unique<PassStep>();
  }
  std::unique_ptr<Step> operator()(const Decoder::Replace& spec) const {
    return std::make_unique<ReplaceStep>(spec);
  }
  std::unique_ptr<Step> operator()(const Decoder::Strip& spec) const {
    if (fused) return std::make_unique<FusedStripStep>(spec);
    return std::make_unique<StripStep>(spec);
  }
  std::unique_ptr<Step> operator()(const Decoder::Metaspace& spec) const {
    return std::make_unique<MetaspaceStep>(spec);
  }
  std::unique_ptr<Step> operator()(const Decoder::Suffix& spec) const {
    return std::make_unique<SuffixStep>(spec);
  }
  std::unique_ptr<Step> operator()(const Decoder::JoinWithSpaces&) const {
    return std::make_unique<JoinStep>();
  }
};

template <class... Types>
bool is_any(const Decoder::Spec& spec) {
  return (std::holds_alternative<Types>(spec) || ...);
}

/// Hands a text to steps[at...], the end of them collecting in `out`.
void push_from(const std::vector<std::unique_ptr<Step>>& steps, std::size_t at,
               std::string_view token, std::string& out) {
  if (at == steps.size()) {
    out += token;
    return;
  }
  steps[at]->push(token, [&](std::string_view made) { push_from(steps, at + 1, made, out); });
}

}  // namespace

Decoder::Stream::Stream(const Decoder& decoder) {
  bool fused = false, whole = false;
  for (const Spec& spec : decoder.specs_) {
    if (fused && !whole && !is_any<Fuse, Strip>(spec)) {
      steps_.push_back(std::make_unique<BufferStep>());
      whole = true;
    }
    steps_.push_back(std::visit(MakeStep{fused && !whole}, spec));
    if (is_any<ByteLevel, Fuse>(spec)) {
      whole = whole && is_any<Fuse>(spec);
      fused = true;
    }
  }
}
Decoder::Stream::Stream(Stream&&) noexcept = default;
Decoder::Stream& Decoder::Stream::operator=(Stream&&) noexcept = default;
Decoder::Stream::~Stream() = default;

std::string Decoder::Stream::push(std::string_view token) {
  std::string out;
  push_from(steps_, 0, token, out);
  return out;
}

std::string Decoder::Stream::finish() {
  std::string out;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    steps_[i]->finish([&](std::string_view made) { push_from(steps_, i + 1, made, out); });
  }
  return out;
}

void Decoder::Stream::drop_complete() {
  for (const auto& step : steps_) step->drop_complete();
}

}  // namespace sluice
