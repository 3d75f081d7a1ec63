// PCRE2 with its JIT; the interpreter takes over where the JIT's stack ends.
#include "runtime/tokenizer/regex.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <limits>

namespace sluice {
namespace {

constexpr std::size_t kPatternBytesMax = 64 << 10;
constexpr std::size_t kJitStackBytesMax = 32 << 20;
constexpr std::uint32_t kHeapKibMax = 256 << 10;
constexpr std::uint64_t kBacktracksMin = 1'000'000;
constexpr std::uint64_t kBacktracksPerByte = 32;

std::string message_of(int code) {
  PCRE2_UCHAR8 text[256];
  pcre2_get_error_message_8(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

PCRE2_SPTR8 units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR8>(text.data()); }

}  // namespace

struct Regex::Program {
  explicit Program(pcre2_code_8* compiled) : code(compiled) {}
  ~Program() { pcre2_code_free_8(code); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pcre2_code_8* code;
  bool jit = false;
};

struct Regex::Scratch::State {
  State()
      : match(pcre2_match_data_create_8(1, nullptr)),
        context(pcre2_match_context_create_8(nullptr)) {
    pcre2_set_heap_limit_8(context, kHeapKibMax);
  }
  ~State() {
    pcre2_jit_stack_free_8(jit_stack);
    pcre2_match_context_free_8(context);
    pcre2_match_data_free_8(match);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void set_limits(std::size_t text_bytes) {
    const std::uint64_t limit = std::max(kBacktracksMin, kBacktracksPerByte * text_bytes);
    pcre2_set_match_limit_8(context, static_cast<std::uint32_t>(std::min<std::uint64_t>(
                                         limit, std::numeric_limits<std::uint32_t>::max())));
  }
  /// The first 32 KiB come from the machine's stack; this is for the rare pattern that needs more.
  bool grow_jit_stack() {
    if (jit_stack != nullptr) return false;
    jit_stack = pcre2_jit_stack_create_8(64 << 10, kJitStackBytesMax, nullptr);
    if (jit_stack != nullptr) pcre2_jit_stack_assign_8(context, nullptr, jit_stack);
    return jit_stack != nullptr;
  }

  pcre2_match_data_8* match;
  pcre2_match_context_8* context;
  pcre2_jit_stack_8* jit_stack = nullptr;
};

Regex::Scratch::Scratch() : state_(std::make_unique<State>()) {}
Regex::Scratch::Scratch(Scratch&&) noexcept = default;
Regex::Scratch& Regex::Scratch::operator=(Scratch&&) noexcept = default;
Regex::Scratch::~Scratch() = default;

Regex::Regex(std::unique_ptr<Program> program) : program_(std::move(program)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::compile(std::string_view pattern) {
  if (pattern.size() > kPatternBytesMax) {
    return invalid_input("the pattern has {} bytes; at most {} are supported", pattern.size(),
                         kPatternBytesMax);
  }
  const std::string translated = to_pcre2(pattern);
  int code = 0;
  PCRE2_SIZE offset = 0;
  pcre2_compile_context_8* context = pcre2_compile_context_create_8(nullptr);
  pcre2_set_newline_8(context, PCRE2_NEWLINE_LF);
  pcre2_code_8* compiled = pcre2_compile_8(
      units(translated), translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &offset, context);
  pcre2_compile_context_free_8(context);
  if (compiled == nullptr) {
    return invalid_input("bad pattern '{}': {}", pattern.substr(0, 200), message_of(code));
  }
  auto program = std::make_unique<Program>(compiled);
  program->jit = pcre2_jit_compile_8(compiled, PCRE2_JIT_COMPLETE) == 0;
  return Regex(std::move(program));
}

Result<bool> Regex::find(std::string_view text, std::size_t from, Match& match,
                         Scratch& scratch) const {
  Scratch::State& state = *scratch.state_;
  state.set_limits(text.size());
  const auto interpret = [&] {
    return pcre2_match_8(program_->code, units(text), text.size(), from,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, state.match, state.context);
  };
  const auto run_jit = [&] {
    return pcre2_jit_match_8(program_->code, units(text), text.size(), from, PCRE2_NO_UTF_CHECK,
                             state.match, state.context);
  };
  int code = program_->jit ? run_jit() : interpret();
  if (code == PCRE2_ERROR_JIT_STACKLIMIT && state.grow_jit_stack()) code = run_jit();
  if (code == PCRE2_ERROR_JIT_STACKLIMIT) code = interpret();
  if (code == PCRE2_ERROR_NOMATCH) return false;
  if (code < 0) {
    return invalid_input(
        "a pattern of the tokenizer gives up on a text of {} bytes ({}); use a pattern that does "
        "not backtrack so much",
        text.size(), message_of(code));
  }
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer_8(state.match);
  // \K in a lookbehind can set a begin past the end, or before `from`.
  match.end = std::max<std::size_t>(ends[1], from);
  match.begin = std::clamp<std::size_t>(ends[0], from, match.end);
  return true;
}

std::size_t Regex::next_character(std::string_view text, std::size_t at) {
  for (++at; at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;) ++at;
  return at;
}

}  // namespace sluice
