// tokenizer.json to TokenizerParts.
//
// What the tokenizers library (0.22) and transformers (4.57) do with these files is what is done
// here; what is not supported is an Error that names the key, never a guess.
#include <algorithm>
#include <array>

#include "runtime/tokenizer/json_node.hpp"
#include "runtime/tokenizer/tokenizer_config.hpp"
#include "runtime/tokenizer/tokenizer_parts.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace sluice {
namespace {

using Json = nlohmann::json;
constexpr int kNestingMax = 16;
constexpr std::int64_t kIdMax = (std::int64_t{1} << 31) - 2;

Result<std::string> type_of(const JsonNode& node) { return node.text("type"); }

Status unsupported(const JsonNode& node, std::string_view what, std::string_view type,
                   std::string_view supported) {
  return invalid_input("{}: {} of type '{}' is not supported; supported are {}", node.path(), what,
                       type, supported);
}

Status too_deep(const JsonNode& node) {
  return invalid_input("{}: nested more than {} deep", node.path(), kNestingMax);
}

// Model

Result<std::vector<std::pair<std::string, TokenId>>> read_vocabulary(const JsonNode& model) {
  SLUICE_ASSIGN(const auto node, model.at("vocab"));
  if (!node.json().is_object()) return node.wrong("an object of tokens and ids");
  std::vector<std::pair<std::string, TokenId>> vocabulary;
  vocabulary.reserve(node.json().size());
  for (const auto& [text, id] : node.json().items()) {
    if (!id.is_number_integer() || id < 0 || id > kIdMax) {
      return invalid_input("{}['{}'] is {}, expected an id from 0 on", node.path(), text,
                           id.dump());
    }
    vocabulary.emplace_back(text, id.get<TokenId>());
  }
  return vocabulary;
}

Result<std::pair<std::string, std::string>> read_merge(const JsonNode& list, std::size_t index) {
  const Json& merge = list.json()[index];
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const auto space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return std::pair(text.substr(0, space), text.substr(space + 1));
    }
  }
  return invalid_input("{}: expected two tokens, as [\"a\", \"b\"] or \"a b\"",
                       list.element(index).path());
}

Result<Bpe> read_model(const JsonNode& root) {
  SLUICE_ASSIGN(const auto model, root.at("model"));
  if (model.has("type")) {
    SLUICE_ASSIGN(const auto type, type_of(model));
    if (type != "BPE") SLUICE_TRY(unsupported(model, "a model", type, "BPE"));
  }
  Bpe::Definition definition;
  SLUICE_ASSIGN(definition.vocabulary, read_vocabulary(model));
  SLUICE_ASSIGN(const auto merges, model.at("merges"));
  SLUICE_ASSIGN(const auto count, merges.array_size());
  definition.merges.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    SLUICE_ASSIGN(auto merge, read_merge(merges, i));
    definition.merges.push_back(std::move(merge));
  }
  if (model.has("unk_token")) {
    SLUICE_ASSIGN(definition.unknown_token, model.text("unk_token"));
  }
  if (model.has("continuing_subword_prefix")) {
    SLUICE_ASSIGN(definition.continuing_subword_prefix, model.text("continuing_subword_prefix"));
  }
  if (model.has("end_of_word_suffix")) {
    SLUICE_ASSIGN(definition.end_of_word_suffix, model.text("end_of_word_suffix"));
  }
  if (model.has("dropout") && model.json()["dropout"] != 0) {
    return invalid_input("{}.dropout makes ids random; set it to null", model.path());
  }
  SLUICE_ASSIGN(definition.fuse_unknown, model.flag("fuse_unk", false));
  SLUICE_ASSIGN(definition.byte_fallback, model.flag("byte_fallback", false));
  SLUICE_ASSIGN(definition.ignore_merges, model.flag("ignore_merges", false));
  return Bpe::create(std::move(definition));
}

// Patterns

struct PatternText {
  std::string text;
  bool literal;
};

/// {"String": ...} or {"Regex": ...}
Result<PatternText> read_pattern(const JsonNode& node) {
  SLUICE_ASSIGN(const auto pattern, node.at("pattern"));
  const bool literal = pattern.has("String");
  SLUICE_ASSIGN(auto text, pattern.text(literal ? "String" : "Regex"));
  if (text.empty()) return invalid_input("{} is empty", pattern.path());
  return PatternText{std::move(text), literal};
}

Result<Regex> compile(const JsonNode& node, std::string_view pattern) {
  auto regex = Regex::compile(pattern);
  if (!regex) return in_context(node.path(), std::move(regex).error());
  return regex;
}

// Normalizer

std::optional<NormalizationForm> normalization_form(std::string_view type) {
  if (type == "NFC") return NormalizationForm::kNfc;
  if (type == "NFD") return NormalizationForm::kNfd;
  if (type == "NFKC") return NormalizationForm::kNfkc;
  if (type == "NFKD") return NormalizationForm::kNfkd;
  return std::nullopt;
}

Status read_normalizer(const JsonNode& node, int depth, Normalizer& out) {
  if (depth > kNestingMax) return too_deep(node);
  SLUICE_ASSIGN(const auto type, type_of(node));
  if (type == "Sequence") {
    return for_each_in(node, "normalizers", [&](const JsonNode& child) {
      return read_normalizer(child, depth + 1, out);
    });
  }
  if (type == "Prepend") {
    SLUICE_ASSIGN(auto prefix, node.text("prepend"));
    out.add(Normalizer::Prepend{std::move(prefix)});
  } else if (type == "Replace") {
    SLUICE_ASSIGN(auto pattern, read_pattern(node));
    SLUICE_ASSIGN(auto content, node.text("content"));
    if (pattern.literal) {
      out.add(Normalizer::ReplaceLiteral{std::move(pattern.text), std::move(content)});
    } else {
      SLUICE_ASSIGN(auto regex, compile(node, pattern.text));
      out.add(Normalizer::Replace{std::move(regex), std::move(content)});
    }
  } else if (type == "Strip") {
    Normalizer::Strip strip;
    SLUICE_ASSIGN(strip.left, node.flag("strip_left", true));
    SLUICE_ASSIGN(strip.right, node.flag("strip_right", true));
    out.add(strip);
  } else if (type == "ByteLevel") {
    out.add(Normalizer::ByteLetters{});
  } else if (const auto form = normalization_form(type)) {
    out.add(*form);
  } else {
    return unsupported(node, "a normalizer", type,
                       "Sequence, Prepend, Replace, Strip, ByteLevel, NFC, NFD, NFKC, NFKD");
  }
  return {};
}

// Pre-tokenizer

Result<PreTokenizer::Behavior> read_behavior(const JsonNode& node) {
  using Behavior = PreTokenizer::Behavior;
  constexpr std::array<std::pair<std::string_view, Behavior>, 5> kNames = {{
      {"removed", Behavior::kRemoved},
      {"isolated", Behavior::kIsolated},
      {"mergedwithprevious", Behavior::kMergedWithPrevious},
      {"mergedwithnext", Behavior::kMergedWithNext},
      {"contiguous", Behavior::kContiguous},
  }};
  if (!node.has("behavior")) return Behavior::kIsolated;
  SLUICE_ASSIGN(const auto name, node.text("behavior"));
  std::string plain;
  for (const char c : name) {
    if (c != '_') plain.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
  }
  for (const auto& [known, behavior] : kNames) {
    if (plain == known) return behavior;
  }
  return invalid_input(
      "{}.behavior is '{}', expected Removed, Isolated, MergedWithPrevious, "
      "MergedWithNext or Contiguous",
      node.path(), name);
}

Status add_split(const JsonNode& node, std::string_view pattern, PreTokenizer::Behavior behavior,
                 bool invert, PreTokenizer& out) {
  SLUICE_ASSIGN(auto regex, compile(node, pattern));
  out.add(PreTokenizer::Split{std::move(regex), behavior, invert});
  return {};
}

Status read_byte_level(const JsonNode& node, PreTokenizer& out) {
  SLUICE_ASSIGN(const bool prefix_space, node.flag("add_prefix_space", true));
  SLUICE_ASSIGN(const bool use_regex, node.flag("use_regex", true));
  if (prefix_space) out.add(PreTokenizer::PrefixSpace{});
  if (use_regex) {
    SLUICE_TRY(add_split(node, PreTokenizer::kByteLevelPattern, PreTokenizer::Behavior::kIsolated,
                         false, out));
  }
  out.add(PreTokenizer::ByteLetters{});
  return {};
}

Result<PreTokenizer::Metaspace> read_metaspace(const JsonNode& node) {
  using Prepend = PreTokenizer::Metaspace::Prepend;
  PreTokenizer::Metaspace metaspace;
  if (node.has("replacement")) {
    SLUICE_ASSIGN(metaspace.replacement, node.text("replacement"));
    if (metaspace.replacement.empty() ||
        utf8_head(metaspace.replacement).size != metaspace.replacement.size()) {
      return invalid_input("{}.replacement is '{}', expected one character", node.path(),
                           metaspace.replacement);
    }
  }
  SLUICE_ASSIGN(const bool add_prefix_space, node.flag("add_prefix_space", true));
  metaspace.prepend = add_prefix_space ? Prepend::kAlways : Prepend::kNever;
  if (node.has("prepend_scheme")) {
    SLUICE_ASSIGN(const auto scheme, node.text("prepend_scheme"));
    if (scheme != "always" && scheme != "first" && scheme != "never") {
      return invalid_input("{}.prepend_scheme is '{}', expected always, first or never",
                           node.path(), scheme);
    }
    metaspace.prepend = scheme == "always"  ? Prepend::kAlways
                        : scheme == "first" ? Prepend::kFirst
                                            : Prepend::kNever;
  }
  SLUICE_ASSIGN(metaspace.split, node.flag("split", true));
  return metaspace;
}

Status read_simple_split(const JsonNode& node, std::string_view type, PreTokenizer& out) {
  using Behavior = PreTokenizer::Behavior;
  if (type == "Digits") {
    SLUICE_ASSIGN(const bool individual, node.flag("individual_digits", false));
    return add_split(node, "\\p{N}", individual ? Behavior::kIsolated : Behavior::kContiguous,
                     false, out);
  }
  if (type == "Punctuation") {
    SLUICE_ASSIGN(const auto behavior, read_behavior(node));
    return add_split(node, "[\\p{P}$+<=>^`|~]", behavior, false, out);
  }
  if (type == "WhitespaceSplit") return add_split(node, "\\s", Behavior::kRemoved, false, out);
  if (type == "CharDelimiterSplit") {
    SLUICE_ASSIGN(const auto delimiter, node.text("delimiter"));
    return add_split(node, escape_pattern(delimiter), Behavior::kRemoved, false, out);
  }
  // Whitespace: words, and runs of what is neither word nor space.
  constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}";
  return add_split(node, fmt::format("[{0}]+|[^{0}\\s]+", kWord), Behavior::kRemoved, true, out);
}

Status read_pre_tokenizer(const JsonNode& node, int depth, PreTokenizer& out) {
  if (depth > kNestingMax) return too_deep(node);
  SLUICE_ASSIGN(const auto type, type_of(node));
  if (type == "Sequence") {
    return for_each_in(node, "pretokenizers", [&](const JsonNode& child) {
      return read_pre_tokenizer(child, depth + 1, out);
    });
  }
  if (type == "ByteLevel") return read_byte_level(node, out);
  if (type == "Split") {
    SLUICE_ASSIGN(const auto pattern, read_pattern(node));
    SLUICE_ASSIGN(const auto behavior, read_behavior(node));
    SLUICE_ASSIGN(const bool invert, node.flag("invert", false));
    return add_split(node, pattern.literal ? escape_pattern(pattern.text) : pattern.text, behavior,
                     invert, out);
  }
  if (type == "Metaspace") {
    SLUICE_ASSIGN(auto metaspace, read_metaspace(node));
    out.add(std::move(metaspace));
    return {};
  }
  constexpr std::array<std::string_view, 5> kSimple = {"Digits", "Punctuation", "Whitespace",
                                                       "WhitespaceSplit", "CharDelimiterSplit"};
  if (std::find(kSimple.begin(), kSimple.end(), type) != kSimple.end()) {
    return read_simple_split(node, type, out);
  }
  return unsupported(node, "a pre-tokenizer", type,
                     "Sequence, Split, ByteLevel, Metaspace, Digits, Punctuation, Whitespace, "
                     "WhitespaceSplit, CharDelimiterSplit");
}

// Decoder

Status read_decoder(const JsonNode& node, int depth, Decoder& out) {
  if (depth > kNestingMax) return too_deep(node);
  SLUICE_ASSIGN(const auto type, type_of(node));
  if (type == "Sequence") {
    return for_each_in(node, "decoders",
                       [&](const JsonNode& child) { return read_decoder(child, depth + 1, out); });
  }
  if (type == "ByteLevel") {
    out.add(Decoder::ByteLevel{});
  } else if (type == "ByteFallback") {
    out.add(Decoder::ByteFallback{});
  } else if (type == "Fuse") {
    out.add(Decoder::Fuse{});
  } else if (type == "Metaspace") {
    SLUICE_ASSIGN(auto metaspace, read_metaspace(node));
    out.add(std::move(metaspace));
  } else if (type == "Replace") {
    SLUICE_ASSIGN(auto pattern, read_pattern(node));
    SLUICE_ASSIGN(auto content, node.text("content"));
    if (!pattern.literal)
      return invalid_input("{}: only a String pattern is supported", node.path());
    out.add(Decoder::Replace{std::move(pattern.text), std::move(content)});
  } else if (type == "Strip") {
    Decoder::Strip strip;
    SLUICE_ASSIGN(const auto content, node.text("content"));
    if (content.empty()) return invalid_input("{}.content is empty", node.path());
    std::size_t size = 0;
    strip.content = utf8_front(content, size);
    SLUICE_ASSIGN(strip.start, node.integer("start", 0, INT32_MAX));
    SLUICE_ASSIGN(strip.stop, node.integer("stop", 0, INT32_MAX));
    out.add(strip);
  } else if (type == "BPEDecoder") {
    SLUICE_ASSIGN(auto suffix, node.has("suffix") ? node.text("suffix") : std::string("</w>"));
    if (suffix.empty()) return invalid_input("{}.suffix is empty", node.path());
    out.add(Decoder::Suffix{std::move(suffix)});
  } else {
    return unsupported(node, "a decoder", type,
                       "Sequence, ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip, "
                       "BPEDecoder");
  }
  return {};
}

// Added tokens

Status read_added_tokens(const JsonNode& root, TokenizerParts& parts) {
  if (!root.has("added_tokens")) return {};
  return for_each_in(root, "added_tokens", [&](const JsonNode& node) -> Status {
    SLUICE_TRY(node.integer("id", 0, kIdMax));
    SLUICE_ASSIGN(const auto token, read_added_token(node));
    auto status = parts.added.add(token, parts.model);
    if (!status) return in_context(node.path(), std::move(status).error());
    return {};
  });
}

// Post-processor

/// Ids round the text.
struct Frame {
  std::vector<TokenId> prefix;
  std::vector<TokenId> suffix;
};

Status read_template_piece(const JsonNode& processor, const JsonNode& piece, bool& text_seen,
                           Frame& frame) {
  if (piece.has("Sequence")) {
    SLUICE_ASSIGN(const auto sequence, piece.at("Sequence"));
    SLUICE_ASSIGN(const auto id, sequence.text("id"));
    if (id != "A" || text_seen) {
      return invalid_input("{}: expected the text ($A) once and nothing else", piece.path());
    }
    text_seen = true;
    return {};
  }
  SLUICE_ASSIGN(const auto special, piece.at("SpecialToken"));
  SLUICE_ASSIGN(const auto name, special.text("id"));
  SLUICE_ASSIGN(const auto tokens, processor.at("special_tokens"));
  SLUICE_ASSIGN(const auto token, tokens.at(name));
  return for_each_in(token, "ids", [&](const JsonNode& node) -> Status {
    SLUICE_ASSIGN(const auto id, node.integer(0, kIdMax));
    (text_seen ? frame.suffix : frame.prefix).push_back(static_cast<TokenId>(id));
    return {};
  });
}

Result<TokenId> read_token_pair(const JsonNode& node, std::string_view key) {
  SLUICE_ASSIGN(const auto pair, node.at(key));
  SLUICE_ASSIGN(const auto count, pair.array_size());
  if (count != 2) return pair.wrong("a token and its id");
  SLUICE_ASSIGN(const auto id, pair.element(1).integer(0, kIdMax));
  return static_cast<TokenId>(id);
}

Status read_post_processor(const JsonNode& node, int depth, Frame& frame) {
  if (depth > kNestingMax) return too_deep(node);
  SLUICE_ASSIGN(const auto type, type_of(node));
  if (type == "ByteLevel") return {};  // changes offsets alone
  if (type == "Sequence") {
    return for_each_in(node, "processors", [&](const JsonNode& child) {
      return read_post_processor(child, depth + 1, frame);
    });
  }
  Frame outer;
  if (type == "TemplateProcessing") {
    bool text_seen = false;
    SLUICE_TRY(for_each_in(node, "single", [&](const JsonNode& piece) {
      return read_template_piece(node, piece, text_seen, outer);
    }));
    if (!text_seen) return invalid_input("{}.single lacks the text ($A)", node.path());
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    SLUICE_ASSIGN(const auto first, read_token_pair(node, "cls"));
    SLUICE_ASSIGN(const auto last, read_token_pair(node, "sep"));
    outer = {{first}, {last}};
  } else {
    return unsupported(node, "a post-processor", type,
                       "Sequence, ByteLevel, TemplateProcessing, RobertaProcessing, "
                       "BertProcessing");
  }
  frame.prefix.insert(frame.prefix.begin(), outer.prefix.begin(), outer.prefix.end());
  frame.suffix.insert(frame.suffix.end(), outer.suffix.begin(), outer.suffix.end());
  return {};
}

Result<std::unique_ptr<TokenizerParts>> read_parts(const JsonNode& root) {
  if (!root.json().is_object())
    return invalid_input("the document is {}, expected an object", root.json().type_name());
  SLUICE_ASSIGN(auto model, read_model(root));
  SLUICE_ASSIGN(auto added, AddedTokens::create());
  auto parts = std::make_unique<TokenizerParts>(std::move(model), std::move(added));
  if (root.has("normalizer")) {
    SLUICE_ASSIGN(const auto node, root.at("normalizer"));
    SLUICE_TRY(read_normalizer(node, 0, parts->normalizer));
  }
  if (root.has("pre_tokenizer")) {
    SLUICE_ASSIGN(const auto node, root.at("pre_tokenizer"));
    SLUICE_TRY(read_pre_tokenizer(node, 0, parts->pre_tokenizer));
  }
  if (root.has("decoder")) {
    SLUICE_ASSIGN(const auto node, root.at("decoder"));
    SLUICE_TRY(read_decoder(node, 0, parts->decoder));
  } else {
    parts->decoder.add(Decoder::JoinWithSpaces{});
  }
  if (root.has("post_processor")) {
    SLUICE_ASSIGN(const auto node, root.at("post_processor"));
    Frame frame;
    SLUICE_TRY(read_post_processor(node, 0, frame));
    parts->prefix = std::move(frame.prefix);
    parts->suffix = std::move(frame.suffix);
  }
  SLUICE_TRY(read_added_tokens(root, *parts));
  return parts;
}

/// An id that no token has could not be decoded, nor found in a model's embedding.
Status check_frame(const TokenizerParts& parts) {
  for (const auto* ids : {&parts.prefix, &parts.suffix}) {
    for (const TokenId id : *ids) {
      if (parts.added.find(id) != nullptr || parts.model.text_of(id)) continue;
      return invalid_input("post_processor adds token id {}, which no token of the vocabulary has",
                           id);
    }
  }
  return {};
}

Result<std::unique_ptr<TokenizerParts>> read_both(std::string_view json, std::string_view config) {
  SLUICE_ASSIGN(auto root, parse_json(json));
  Json config_json;
  if (!config.empty()) {
    auto parsed = parse_json(config);
    if (!parsed) return in_context("tokenizer_config.json", std::move(parsed).error());
    config_json = std::move(*parsed);
    SLUICE_TRY(override_prefix_space(JsonNode(config_json, "tokenizer_config.json"), root));
  }
  SLUICE_ASSIGN(auto parts, read_parts(JsonNode(root, "")));
  if (config.empty()) {
    guess_ends(*parts);
  } else {
    SLUICE_TRY(read_config(JsonNode(config_json, "tokenizer_config.json"), *parts));
  }
  Regex::Scratch scratch;
  SLUICE_TRY(parts->added.build(parts->normalizer, scratch));
  SLUICE_TRY(check_frame(*parts));
  return parts;
}

}  // namespace

Result<std::unique_ptr<TokenizerParts>> parse_tokenizer(std::string json, std::string config,
                                                        const std::string& where) {
  auto parts = read_both(json, config);
  if (!parts) {
    auto error = std::move(parts).error();
    error.message += "; give a tokenizer.json as the Hugging Face tokenizers library writes it";
    return in_context(where, std::move(error));
  }
  (*parts)->json = std::move(json);
  (*parts)->config = std::move(config);
  return parts;
}

}  // namespace sluice
