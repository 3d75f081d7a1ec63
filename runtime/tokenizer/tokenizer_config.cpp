// What transformers (4.57) takes from tokenizer_config.json when it loads a fast tokenizer.
#include "runtime/tokenizer/tokenizer_config.hpp"

#include <algorithm>
#include <array>

namespace sluice {
namespace {

/// What a tokenizer class of transformers brings along where the config says nothing.
struct ClassDefaults {
  std::string_view name;
  bool frames_by_flags;  ///< BOS and EOS come from add_bos_token and add_eos_token alone
  bool add_bos;
  std::string_view bos, eos, unknown, pad;
};
constexpr std::array kClasses = {
    ClassDefaults{"LlamaTokenizer", true, true, "<s>", "</s>", "<unk>", ""},
    ClassDefaults{"CodeLlamaTokenizer", true, true, "<s>", "</s>", "<unk>", ""},
    ClassDefaults{"GemmaTokenizer", true, true, "<bos>", "<eos>", "<unk>", "<pad>"},
    ClassDefaults{"CohereTokenizer", true, true, "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>",
                  ""},
    ClassDefaults{"GPTNeoXTokenizer", true, false, "<|endoftext|>", "<|endoftext|>",
                  "<|endoftext|>", ""},
    ClassDefaults{"GPT2Tokenizer", false, false, "<|endoftext|>", "<|endoftext|>", "<|endoftext|>",
                  ""},
    ClassDefaults{"Qwen2Tokenizer", false, false, "", "<|endoftext|>", "<|endoftext|>",
                  "<|endoftext|>"},
    ClassDefaults{"PreTrainedTokenizer", false, false, "", "", "", ""},
};

Result<ClassDefaults> class_of(const JsonNode& config) {
  if (!config.has("tokenizer_class")) return kClasses.back();
  SLUICE_ASSIGN(auto name, config.text("tokenizer_class"));
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  for (const auto& known : kClasses) {
    if (known.name == name) return known;
  }
  return kClasses.back();
}

/// A special token of the config: a string, an AddedToken object, null for none, or the default.
Result<std::optional<AddedToken>> special_token(const JsonNode& config, std::string_view key,
                                                std::string_view absent) {
  AddedToken token;
  token.content = absent;
  token.normalized = false;
  token.special = true;
  if (config.json().contains(key)) {
    if (!config.has(key)) return std::nullopt;
    SLUICE_ASSIGN(const auto node, config.at(key));
    if (node.json().is_object()) {
      SLUICE_ASSIGN(token, read_added_token(node));
      token.special = true;
    } else {
      SLUICE_ASSIGN(token.content, node.text());
    }
  }
  if (token.content.empty()) return std::nullopt;
  return token;
}

/// Adds a special token that tokenizer.json does not list; gives its id.
Result<std::optional<TokenId>> add_special_token(const JsonNode& config, std::string_view key,
                                                 std::string_view absent, TokenizerParts& parts) {
  SLUICE_ASSIGN(const auto token, special_token(config, key, absent));
  if (!token) return std::nullopt;
  if (!parts.added.id_of(token->content)) SLUICE_TRY(parts.added.add(*token, parts.model));
  return parts.added.id_of(token->content);
}

/// Tokens of `added_tokens_decoder`, by id: those that tokenizer.json does not list as they are.
Status add_listed_tokens(const JsonNode& config, TokenizerParts& parts) {
  if (!config.has("added_tokens_decoder")) return {};
  SLUICE_ASSIGN(const auto list, config.at("added_tokens_decoder"));
  if (!list.json().is_object()) return list.wrong("an object of ids and tokens");
  std::vector<std::pair<std::int64_t, std::string>> order;
  for (const auto& [key, value] : list.json().items()) {
    const bool digits =
        !key.empty() && key.size() <= 9 &&
        std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!digits) return invalid_input("{} has the key '{}', expected an id", list.path(), key);
    order.emplace_back(std::stoll(key), key);
  }
  std::sort(order.begin(), order.end());
  for (const auto& entry : order) {
    SLUICE_ASSIGN(const auto node, list.at(entry.second));
    SLUICE_ASSIGN(const auto token, read_added_token(node));
    SLUICE_TRY(parts.added.add(token, parts.model));
  }
  return {};
}

Status add_additional_tokens(const JsonNode& config, TokenizerParts& parts) {
  if (!config.has("additional_special_tokens")) return {};
  return for_each_in(config, "additional_special_tokens", [&](const JsonNode& node) -> Status {
    AddedToken token;
    token.normalized = false;
    token.special = true;
    if (node.json().is_object()) {
      SLUICE_ASSIGN(token, read_added_token(node));
      token.special = true;
    } else {
      SLUICE_ASSIGN(token.content, node.text());
    }
    if (parts.added.id_of(token.content)) return {};
    return parts.added.add(token, parts.model);
  });
}

}  // namespace

Result<AddedToken> read_added_token(const JsonNode& node) {
  AddedToken token;
  SLUICE_ASSIGN(token.content, node.text("content"));
  SLUICE_ASSIGN(token.single_word, node.flag("single_word", false));
  SLUICE_ASSIGN(token.lstrip, node.flag("lstrip", false));
  SLUICE_ASSIGN(token.rstrip, node.flag("rstrip", false));
  SLUICE_ASSIGN(token.special, node.flag("special", false));
  SLUICE_ASSIGN(token.normalized, node.flag("normalized", !token.special));
  return token;
}

Status read_config(const JsonNode& config, TokenizerParts& parts) {
  if (!config.json().is_object()) return config.wrong("an object");
  SLUICE_ASSIGN(const auto defaults, class_of(config));
  SLUICE_TRY(add_listed_tokens(config, parts));
  SLUICE_ASSIGN(parts.bos, add_special_token(config, "bos_token", defaults.bos, parts));
  SLUICE_ASSIGN(parts.eos, add_special_token(config, "eos_token", defaults.eos, parts));
  SLUICE_TRY(add_special_token(config, "unk_token", defaults.unknown, parts));
  for (const char* key : {"sep_token", "pad_token", "cls_token", "mask_token"}) {
    SLUICE_TRY(add_special_token(config, key,
                                 key == std::string_view("pad_token") ? defaults.pad : "", parts));
  }
  SLUICE_TRY(add_additional_tokens(config, parts));
  if (!defaults.frames_by_flags) return {};
  SLUICE_ASSIGN(const bool add_bos, config.flag("add_bos_token", defaults.add_bos));
  SLUICE_ASSIGN(const bool add_eos, config.flag("add_eos_token", false));
  if ((add_bos && !parts.bos) || (add_eos && !parts.eos)) {
    return invalid_input("{} is true but {} is null",
                         add_bos && !parts.bos ? "add_bos_token" : "add_eos_token",
                         add_bos && !parts.bos ? "bos_token" : "eos_token");
  }
  parts.prefix.clear();
  parts.suffix.clear();
  if (add_bos) parts.prefix.push_back(*parts.bos);
  if (add_eos) parts.suffix.push_back(*parts.eos);
  return {};
}

Status override_prefix_space(const JsonNode& config, nlohmann::json& root) {
  if (!root.is_object() || !root.contains("pre_tokenizer")) return {};
  nlohmann::json& pre_tokenizer = root["pre_tokenizer"];
  if (!pre_tokenizer.is_object() || pre_tokenizer.value("type", nlohmann::json()) != "ByteLevel")
    return {};
  SLUICE_ASSIGN(const auto defaults, class_of(config));
  if (!config.has("add_prefix_space") && defaults.name.ends_with("LlamaTokenizer")) return {};
  SLUICE_ASSIGN(const bool value, config.flag("add_prefix_space", false));
  pre_tokenizer["add_prefix_space"] = value;
  return {};
}

void guess_ends(TokenizerParts& parts) {
  constexpr std::array<std::string_view, 4> kBegin = {"<｜begin▁of▁sentence｜>",
                                                      "<|begin_of_text|>", "<s>", "<bos>"};
  constexpr std::array<std::string_view, 5> kEnd = {"<｜end▁of▁sentence｜>", "<|end_of_text|>",
                                                    "</s>", "<eos>", "<|endoftext|>"};
  const auto first_of = [&](const auto& names) -> std::optional<TokenId> {
    for (const auto name : names) {
      if (const auto id = parts.added.id_of(std::string(name))) return id;
    }
    return std::nullopt;
  };
  parts.bos = first_of(kBegin);
  parts.eos = first_of(kEnd);
}

}  // namespace sluice
