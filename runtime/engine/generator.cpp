// Loads a checkpoint folder with its tokenizer and runs generation requests on it.
#include "runtime/engine/generator.hpp"

#include "runtime/engine/clock.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/store/checkpoint_writer.hpp"

namespace sluice::engine {
namespace {

constexpr std::int64_t kPositionsDefault =
    4096;  // caches are taken at start: not the model's whole context unasked

Result<Tokenizer> tokenizer_of(const std::filesystem::path& checkpoint) {
  const bool has_file = std::filesystem::exists(checkpoint / "tokenizer.json");
  return Tokenizer::load(has_file ? checkpoint.string() : std::string(Tokenizer::kBytes));
}

}  // namespace

Generator::~Generator() = default;

Result<std::unique_ptr<Generator>> Generator::load(Config config) {
  SLUICE_ASSIGN(const std::filesystem::path folder, store::find_checkpoint(config.checkpoint));
  SLUICE_ASSIGN(const store::CheckpointReader checkpoint, store::CheckpointReader::open(folder));
  std::unique_ptr<Generator> out(new Generator);
  out->model_ = checkpoint.config().model;
  SLUICE_ASSIGN(Tokenizer tokenizer, tokenizer_of(folder));
  if (tokenizer.vocab_size() > out->model_.vocab_size) {
    return invalid_input(
        "{}: the tokenizer has {} ids, more than the model's vocab_size {}; put the model's own "
        "tokenizer.json into the folder",
        folder.string(), tokenizer.vocab_size(), out->model_.vocab_size);
  }
  out->tokenizer_ = std::make_unique<Tokenizer>(std::move(tokenizer));
  out->positions_max_ = config.positions_max > 0
                            ? config.positions_max
                            : std::min(out->model_.max_position_embeddings, kPositionsDefault);

  ClusterOptions options = std::move(config.cluster);
  options.model = out->model_;
  options.use = model::ParameterUse::kInference;
  options.plan.training = false;
  options.plan.micro_batches = 1;
  options.plan.micro_batch_size = 1;
  options.plan.sequence_length = 1;
  options.positions_max = out->positions_max_;
  SLUICE_ASSIGN(out->cluster_, Cluster::create(std::move(options)));
  SLUICE_TRY(load_weights(*out->cluster_, checkpoint));
  SLUICE_TRY(out->cluster_->start());
  return out;
}

Result<GenerateResult> Generator::generate(const GenerateOptions& options,
                                           const std::function<void(std::string_view)>& emit) {
  GenerateResult result;
  SLUICE_ASSIGN(result.prompt_tokens,
                tokenizer_->encode(options.prompt, {.add_special_tokens = true, .literal = false}));
  if (result.prompt_tokens.empty() && tokenizer_->bos_id())
    result.prompt_tokens.push_back(*tokenizer_->bos_id());
  if (result.prompt_tokens.empty() && model_.bos_token_id >= 0)
    result.prompt_tokens.push_back(static_cast<std::int32_t>(model_.bos_token_id));
  if (result.prompt_tokens.empty()) {
    return invalid_input(
        "the prompt is empty, and the tokenizer has no token to begin a text with; give a prompt");
  }
  const auto prompt_length = static_cast<std::int64_t>(result.prompt_tokens.size());
  if (prompt_length + options.max_tokens > positions_max_) {
    return invalid_input(
        "{} prompt tokens and {} new ones are more than the {} positions there is room for; "
        "shorten the "
        "prompt or ask for fewer tokens",
        prompt_length, options.max_tokens, positions_max_);
  }
  actors::GenerateRequest request;
  request.prompt = result.prompt_tokens;
  request.tokens_max = static_cast<std::int32_t>(options.max_tokens);
  const std::int32_t end =
      tokenizer_->eos_id().value_or(static_cast<std::int32_t>(model_.eos_token_id));
  request.end_token = options.stop_at_end ? end : -1;
  request.temperature = static_cast<float>(options.temperature);
  request.top_p = static_cast<float>(options.top_p);
  request.seed = options.seed;

  StreamDecoder decoder(*tokenizer_, {.skip_special_tokens = true});
  decoder.prime(result.prompt_tokens);
  const auto give = [&](const std::string& piece) {
    result.text += piece;
    if (emit && !piece.empty()) emit(piece);
  };
  const Clock::time_point began = Clock::now();
  Clock::time_point first = began, latest = began;
  cluster_->command(std::move(request));
  for (;;) {
    SLUICE_ASSIGN(const actors::Message message, cluster_->receive());
    if (std::holds_alternative<actors::Idle>(message.body)) break;
    const auto* token = std::get_if<actors::NextToken>(&message.body);
    if (token == nullptr) continue;
    latest = Clock::now();
    if (result.tokens.empty()) first = latest;
    result.tokens.push_back(token->token);
    result.ended = options.stop_at_end && token->token == end;
    if (!result.ended) give(decoder.push(token->token));
  }
  give(decoder.finish());
  result.prompt_seconds = seconds_between(began, first);
  if (result.tokens.size() > 1) {
    result.seconds_per_token =
        seconds_between(first, latest) / static_cast<double>(result.tokens.size() - 1);
  }
  return result;
}

}  // namespace sluice::engine
