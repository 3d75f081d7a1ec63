// Bad input of every kind through the program: one message that says what, where and what to do
// next, exit code 2 for what the caller gave and 1 for what went wrong later, nothing half-written,
// never a crash, a hang, or memory that the input does not justify.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "kernels/base/tensor.hpp"
#include "runtime/store/checkpoint_writer.hpp"
#include "runtime/store/safetensors.hpp"
#include "tests/runtime/cli/program.hpp"

namespace sluice::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

using Arguments = std::vector<std::string>;

struct Case {
  const char* name;
  /// Makes the input; returns the command.
  std::function<Arguments(const SmallRun&)> make;
  std::vector<std::string> said;  ///< parts of the message
  int exit_code = 2;
  ChildOptions options{};
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

// ---- What most cases are made of ----

Arguments train_with(const SmallRun& run, const Arguments& sets) {
  return run.train_arguments("run", sets);
}

Case with_sets(const char* name, Arguments sets, std::vector<std::string> said) {
  return {name, [sets](const SmallRun& run) { return train_with(run, sets); }, std::move(said)};
}

Case with_toml(const char* name, std::string text, std::vector<std::string> said) {
  return {name,
          [text](const SmallRun& run) -> Arguments {
            return {"train", run.folder().write("bad.toml", text).string()};
          },
          std::move(said)};
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  SLUICE_CHECK(at != std::string::npos, "{}", from);
  return text.replace(at, from.size(), to);
}

Case with_model(const char* name, std::string from, std::string to, std::vector<std::string> said) {
  return {name,
          [from, to](const SmallRun& run) {
            run.folder().write("config.json", replaced(read_file(run.model()), from, to));
            return train_with(run, {});
          },
          std::move(said)};
}

Case with_file(const char* name, std::string file, std::string content, Arguments sets,
               std::vector<std::string> said) {
  return {name,
          [file, content, sets](const SmallRun& run) {
            const std::string path = run.folder().write(file, content).string();
            Arguments filled = sets;
            for (std::string& set : filled) {
              if (const auto at = set.find('@'); at != std::string::npos) set.replace(at, 1, path);
            }
            return train_with(run, filled);
          },
          std::move(said)};
}

// ---- Probing a damaged copy of the micro checkpoint ----

const char* const kFirstShard = "model-00001-of-00002.safetensors";

Arguments probe_of(const SmallRun& run, const std::string& tokens) {
  return {"probe", (run.folder() / "micro").string(),          "--tokens", tokens,
          "--out", (run.folder() / "out.safetensors").string()};
}

Case damaged(const char* name, std::function<void(const fs::path&)> damage,
             std::vector<std::string> said) {
  return {name,
          [damage](const SmallRun& run) {
            const fs::path copy = run.folder() / "micro";
            fs::copy(fs::path(SLUICE_TEST_DATA) / "hf" / "micro", copy);
            const std::string tokens = (copy / "expected.safetensors").string();
            damage(copy);
            return probe_of(run, tokens);
          },
          std::move(said)};
}

void rewrite(const fs::path& path, const std::function<std::string(std::string)>& change) {
  const std::string text = change(read_file(path));
  std::ofstream(path, std::ios::binary) << text;
}

Case with_shard(const char* name, std::function<std::string(std::string)> change,
                std::vector<std::string> said) {
  said.push_back(kFirstShard);
  return damaged(
      name, [change](const fs::path& folder) { rewrite(folder / kFirstShard, change); },
      std::move(said));
}

// The first shape of the header with its two numbers swapped, or the second tensor's offsets moved
// onto the first's: same length of header, other meaning.
std::string swapped_shape(std::string file) {
  const std::size_t at = file.find("\"shape\":[16,32]");
  SLUICE_CHECK(at != std::string::npos, "no such shape");
  return file.replace(at, 15, "\"shape\":[32,16]");
}
std::string overlapping(std::string file) {
  const std::size_t first = file.find("\"data_offsets\":[");
  const std::size_t second = file.find("\"data_offsets\":[", first + 1);
  const std::size_t comma = file.find(',', second + 16);
  file.replace(second + 16, comma - second - 16, std::string(comma - second - 16, '0'));
  return file.replace(second + 16, 1, comma - second - 16 == 1 ? "0" : " ");
}

Case with_tokens(const char* name, std::function<std::string(const SmallRun&)> make,
                 std::vector<std::string> said) {
  return {name,
          [make](const SmallRun& run) {
            fs::copy(fs::path(SLUICE_TEST_DATA) / "hf" / "micro", run.folder() / "micro");
            return probe_of(run, make(run));
          },
          std::move(said)};
}

std::string token_file(const SmallRun& run, const std::string& name, Tensor tokens) {
  const fs::path path = run.folder() / "tokens.safetensors";
  const auto status = store::write_safetensors(path, {{name, std::move(tokens)}});
  SLUICE_CHECK(status.has_value(), "cannot write {}", path.string());
  return path.string();
}

Tensor ids(std::vector<std::int32_t> values, std::int64_t rows) {
  const auto columns = static_cast<std::int64_t>(values.size()) / rows;
  return Tensor::from<std::int32_t>(values, Shape{rows, columns});
}

// ---- The tables ----

std::vector<Case> config_cases() {
  return {
      with_toml("UnknownKey", "[train]\nstep = 3\n", {"bad.toml:2", "train.step", "train.steps"}),
      with_toml("UnknownSection", "[trian]\nsteps = 3\n", {"bad.toml:", "trian", "train"}),
      with_toml("WrongType", "[train]\nsteps = \"many\"\n",
                {"bad.toml:2", "train.steps", "integer"}),
      with_toml("OutOfRange", "[train]\n\nsteps = -1\n", {"bad.toml:3", "train.steps", "-1"}),
      with_toml("NotANumber", "[train]\nlearning_rate = nan\n", {"bad.toml:2", "learning_rate"}),
      with_toml("NotAChoice", "[precision]\nrecipe = \"fp4\"\n", {"bad.toml:2", "fp4", "bf16"}),
      with_toml("NoToml", "[train\nsteps = 3\n", {"bad.toml:1"}),
      with_toml("Binary", std::string("\x00\xff\xfe\x01", 4), {"bad.toml"}),
      {"NoFile",
       [](const SmallRun& run) -> Arguments {
         return {"train", (run.folder() / "none.toml").string()};
       },
       {"none.toml"}},
      {"AFolder",
       [](const SmallRun& run) -> Arguments {
         return {"train", run.folder().path().string()};
       },
       {}},
      {"NoModel",
       [](const SmallRun& run) -> Arguments {
         return {"train", run.folder().write("empty.toml", "").string()};
       },
       {"model.config"}},
      with_sets("SetWithoutValue", {"train.steps"}, {"train.steps", "="}),
      with_sets("SetUnknown", {"train.stepps=3"}, {"train.stepps", "train.steps"}),
      with_sets("BatchesThatDoNotDivide", {"train.micro_batch_size=3", "train.global_batch_size=4"},
                {"train.global_batch_size", "train.micro_batch_size"}),
      with_sets("MoreStagesThanLayers", {"topology.pipeline_parallel_size=4"},
                {"topology.pipeline_parallel_size", "3 layers"}),
      with_sets("GroupsThatDoNotDivide", {"topology.expert_parallel_size=3"},
                {"topology.expert_parallel_size", "8 routed experts"}),
      with_sets("LongerThanTheModel", {"train.sequence_length=513"},
                {"train.sequence_length", "max_position_embeddings"}),
      with_sets("MoreIdsThanTheModel", {"model.vocab_size=100"}, {"vocab_size", "100"}),
      with_sets("ModelLargerThanTheMachine",
                {"model.hidden_size=65536", "model.n_routed_experts=1024", "model.n_group=1",
                 "model.topk_group=1", "model.moe_intermediate_size=16384"},
                {"memory"}),
  };
}

std::vector<Case> model_cases() {
  return {
      with_model("GroupsThatDoNotDivideExperts", "\"n_group\": 4", "\"n_group\": 3", {"n_group"}),
      with_model("TopKOutOfReach", "\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 5",
                 {"num_experts_per_tok"}),
      with_model("MoreGroupsThanThere", "\"topk_group\": 2", "\"topk_group\": 5", {"topk_group"}),
      with_model("Huge", "\"hidden_size\": 32", "\"hidden_size\": 4611686018427387904",
                 {"hidden_size"}),
      with_model("HugeReal", "\"hidden_size\": 32", "\"hidden_size\": 1e300", {"hidden_size"}),
      with_model("Negative", "\"hidden_size\": 32", "\"hidden_size\": -32", {"hidden_size"}),
      with_model("Zero", "\"hidden_size\": 32", "\"hidden_size\": 0", {"hidden_size"}),
      with_model("NaN", "\"rms_norm_eps\": 1e-6", "\"rms_norm_eps\": NaN", {"config.json"}),
      with_model("InfiniteReal", "\"rope_theta\": 10000.0", "\"rope_theta\": 1e999",
                 {"config.json"}),
      with_model("WrongType", "\"hidden_size\": 32", "\"hidden_size\": \"32\"", {"hidden_size"}),
      with_model("AnotherModel", "deepseek_v3", "llama", {"llama", "deepseek_v3"}),
      with_model("OddRope", "\"qk_rope_head_dim\": 4", "\"qk_rope_head_dim\": 5",
                 {"qk_rope_head_dim"}),
      with_file("NotJson", "config.json", "{\"model_type\": ", {}, {"config.json"}),
      with_file("EmptyJson", "config.json", "", {}, {"config.json"}),
      with_file("AList", "config.json", "[1, 2]", {}, {"config.json"}),
      with_file("Deep", "config.json", std::string(100000, '['), {}, {"config.json"}),
      with_sets("NoConfigFile", {"model.config=/none/config.json"}, {"/none"}),
  };
}

std::vector<Case> data_cases() {
  return {
      with_sets("NoSuchFile", {"data.paths=[\"/none/a.txt\"]"}, {"/none/a.txt"}),
      with_sets("GlobOfNothing", {"data.paths=[\"/none/*.txt\"]"}, {"/none/*.txt"}),
      with_sets("NoData", {"data.paths=[]"}, {"data.paths"}),
      with_file("EmptyFile", "empty.txt", "", {"data.paths=[\"@\"]"}, {"data.paths"}),
      with_file("TooLittle", "short.txt", "Hi", {"data.paths=[\"@\"]"}, {"data.paths"}),
      with_file("BadLine", "bad.jsonl", "{\"text\": \"good\"}\n{\"text\": bad}\n",
                {"data.paths=[\"@\"]"}, {"bad.jsonl:2"}),
      with_file("NoText", "bad.jsonl", "{\"text\": \"good\"}\n{\"txt\": \"bad\"}\n",
                {"data.paths=[\"@\"]"}, {"bad.jsonl:2", "text"}),
      with_file("TextOfAnotherType", "bad.jsonl", "{\"text\": 3}\n", {"data.paths=[\"@\"]"},
                {"bad.jsonl:1", "text"}),
      with_file("DeepLine", "bad.jsonl", std::string(1 << 20, '[') + "\n", {"data.paths=[\"@\"]"},
                {"bad.jsonl:1"}),
      with_file("TokenizerNotJson", "tokenizer.json", "{", {"data.tokenizer=@"},
                {"tokenizer.json"}),
      with_file("TokenizerWithoutModel", "tokenizer.json", "{\"version\": \"1.0\"}",
                {"data.tokenizer=@"}, {"tokenizer.json", "model"}),
      with_file("TokenizerOfAnotherKind", "tokenizer.json",
                "{\"model\": {\"type\": \"Unigram\", \"vocab\": []}}", {"data.tokenizer=@"},
                {"tokenizer.json", "Unigram"}),
      with_file("TokenizerDeep", "tokenizer.json", std::string(1 << 20, '['), {"data.tokenizer=@"},
                {"tokenizer.json"}),
      with_sets("NoTokenizer", {"data.tokenizer=/none/tokenizer.json"}, {"/none/tokenizer.json"}),
      with_sets("FolderWithoutTokenizer", {"data.tokenizer=/tmp"}, {"tokenizer.json"}),
  };
}

std::vector<Case> checkpoint_cases() {
  return {
      with_shard("Truncated", [](std::string s) { return s.substr(0, s.size() - 100); }, {}),
      with_shard("CutInTheHeader", [](std::string s) { return s.substr(0, 100); }, {}),
      with_shard("Empty", [](const std::string&) { return std::string(); }, {}),
      with_shard("HugeHeader",
                 [](std::string s) { return s.replace(0, 8, "\xff\xff\xff\xff\xff\xff\xff\x7f"); },
                 {"header"}),
      with_shard("Overlapping", overlapping, {}),
      damaged("WrongShape", [](const fs::path& f) { rewrite(f / kFirstShard, swapped_shape); },
              {"gate_proj.weight", "[32, 16]", "[16, 32]"}),
      with_shard("RestAtTheEnd", [](std::string s) { return s + "more"; }, {}),
      damaged("MissingShard", [](const fs::path& f) { fs::remove(f / kFirstShard); },
              {kFirstShard}),
      damaged("PathEscape",
              [](const fs::path& f) {
                fs::copy(f / kFirstShard, f.parent_path() / "outside.safetensors");
                rewrite(f / "model.safetensors.index.json", [](std::string s) {
                  return replaced(s, kFirstShard, "../outside.safetensors");
                });
              },
              {"../outside.safetensors"}),
      damaged("AbsolutePath",
              [](const fs::path& f) {
                rewrite(f / "model.safetensors.index.json",
                        [](std::string s) { return replaced(s, kFirstShard, "/etc/passwd"); });
              },
              {"/etc/passwd"}),
      damaged("IndexNotJson",
              [](const fs::path& f) {
                rewrite(f / "model.safetensors.index.json", [](const std::string&) { return "{"; });
              },
              {"model.safetensors.index.json"}),
      damaged("NoWeights",
              [](const fs::path& f) {
                for (const char* name : {kFirstShard, "model-00002-of-00002.safetensors",
                                         "model.safetensors.index.json"})
                  fs::remove(f / name);
              },
              {"safetensors"}),
      damaged("AnotherSize",
              [](const fs::path& f) {
                rewrite(f / "config.json", [](std::string s) {
                  return replaced(s, "\"intermediate_size\": 48", "\"intermediate_size\": 49");
                });
              },
              {"mlp", "49"}),
      damaged("FarLargerThanItsFiles",
              [](const fs::path& f) {
                rewrite(f / "config.json", [](std::string s) {
                  return replaced(s, "\"vocab_size\": 96", "\"vocab_size\": 900000000");
                });
              },
              {}),
      {"NotACheckpoint",
       [](const SmallRun& run) -> Arguments {
         return {"generate", run.folder().path().string() + "/text", "--prompt", "x"};
       },
       {"text"}},
      {"NoFolder",
       [](const SmallRun&) -> Arguments {
         return {"generate", "/none", "--prompt", "x"};
       },
       {"/none"}},
      with_tokens("NoTokens", [](const SmallRun&) { return "/none.safetensors"; },
                  {"/none.safetensors"}),
      with_tokens("TokensOfAnotherName",
                  [](const SmallRun& run) {
                    return token_file(run, "token", ids({1, 2, 3, 4}, 1));
                  },
                  {"tokens"}),
      with_tokens("TokensOfAnotherType",
                  [](const SmallRun& run) {
                    const std::vector<float> values{1, 2, 3, 4};
                    return token_file(run, "tokens", Tensor::from<float>(values, Shape{1, 4}));
                  },
                  {"tokens"}),
      with_tokens("TokensOfOneDimension",
                  [](const SmallRun& run) {
                    const std::vector<std::int32_t> values{1, 2, 3, 4};
                    return token_file(run, "tokens", Tensor::from<std::int32_t>(values, Shape{4}));
                  },
                  {"tokens"}),
      with_tokens("TokensTooFew",
                  [](const SmallRun& run) {
                    return token_file(run, "tokens", ids({1, 2}, 1));
                  },
                  {"tokens"}),
      with_tokens("TokenOutOfTheVocabulary",
                  [](const SmallRun& run) {
                    return token_file(run, "tokens", ids({1, 2, 96, 4, 5}, 1));
                  },
                  {"96"}),
      with_tokens("TokenNegative",
                  [](const SmallRun& run) {
                    return token_file(run, "tokens", ids({1, 2, -1, 4, 5}, 1));
                  },
                  {"-1"}),
      with_tokens("TokensInText",
                  [](const SmallRun& run) {
                    return run.folder().write("tokens.safetensors", "1 2 3").string();
                  },
                  {"tokens.safetensors"}),
  };
}

std::vector<Case> place_cases() {
  const auto nowhere = [](const char* key) {
    return [key](const SmallRun& run) {
      const std::string file = run.folder().write("file", "").string();
      return train_with(run, {fmt::format("{}={}/inside", key, file)});
    };
  };
  const auto training = [](const SmallRun& run) { return train_with(run, {}); };
  const auto limited = [](std::uint64_t bytes) {
    ChildOptions options;
    options.file_bytes_max = bytes;
    return options;
  };
  std::vector<Case> cases{
      {"RunDirectoryInAFile", nowhere("run.directory"), {"file/inside", "; "}},
      {"CheckpointsInAFile", nowhere("checkpoint.directory"), {"file/inside", "; "}},
      {"CacheInAFile", nowhere("data.cache_directory"), {"file/inside", "; "}},
      {"RunDirectoryThatNobodyWrites",
       [](const SmallRun& run) { return train_with(run, {"run.directory=/proc/sluice"}); },
       {"/proc/sluice", "; "}},
      // The disk is full: for the token cache, and for the checkpoint.
      {"NoRoomForTokens", training, {"cache"}, 1, limited(1000)},
      {"NoRoomForTheCheckpoint", training, {"checkpoint", "step-"}, 1, limited(100'000)},
      {"ProbeOutNowhere",
       [](const SmallRun&) -> Arguments {
         const std::string micro = SLUICE_TEST_DATA "/hf/micro";
         return {"probe",    micro,
                 "--tokens", micro + "/expected.safetensors",
                 "--out",    "/none/out.safetensors"};
       },
       {"/none/out.safetensors", "; "}},
  };
#if !defined(__SANITIZE_ADDRESS__)  // which takes more than any limit itself
  ChildOptions small;
  small.memory_bytes_max = 3'000'000'000;
  cases.push_back({"NoMoreThreads",
                   [](const SmallRun& run) { return train_with(run, {"device.threads=1024"}); },
                   {"no more threads"},
                   1,
                   small});
#endif
  return cases;
}

class BadInput : public testing::TestWithParam<Case> {};

TEST_P(BadInput, OneMessageAndNothingHalfWritten) {
  const Case& c = GetParam();
  const SmallRun run;
  const ChildResult result = run_program(c.make(run), c.options);
  ASSERT_FALSE(result.timed_out) << describe(result);
  EXPECT_EQ(result.exit_code, c.exit_code) << describe(result);
  EXPECT_TRUE(result.error.starts_with("sluice: error: ")) << describe(result);
  EXPECT_EQ(result.error.find("sluice: error: ", 1), std::string::npos) << describe(result);
  EXPECT_LT(result.error.size(), 2000u);
  for (const std::string& part : c.said) EXPECT_THAT(result.error, HasSubstr(part));
  EXPECT_FALSE(fs::exists(run.folder() / "out.safetensors"));
  for (const auto& entry : fs::recursive_directory_iterator(run.folder().path())) {
    const std::string name = entry.path().filename().string();
    EXPECT_FALSE(name.starts_with(".writing") || name.starts_with("step-") ||
                 name.ends_with(".tmp") || name.ends_with(".partial"))
        << entry.path() << " was left";
  }
}

// What a command prints is its work: a script must not take half of it for the whole.
TEST(Output, AFullDiskUnderItIsAnError) {
  const SmallRun run;
  ASSERT_EQ(run.train("run").exit_code, 0);
  const std::string checkpoint =
      store::newest_checkpoint(run.directory("run") / "checkpoints")->string();
  const std::vector<Arguments> lines = {
      {"--help"},
      {"--version"},
      {"train", "--help"},
      {"config", "dump"},
      {"config", "explain", "--json"},
      {"plan", run.config()},
      {"schedule", "dualpipe", "--ranks", "4", "--micro-batches", "8"},
      {"metrics", run.directory("run")},
      {"generate", checkpoint, "--prompt", "a", "--max-tokens", "2"},
      {"generate", checkpoint, "--prompt", "a", "--max-tokens", "2", "--json"},
  };
  for (const Arguments& line : lines) {
    Arguments shell{"/bin/sh", "-c", "exec \"$@\" > /dev/full", "sh"};
    for (const std::string& each : program(line)) shell.push_back(each);
    const ChildResult result = run_child(shell);
    EXPECT_EQ(result.exit_code, 1) << line[0] << ": " << describe(result);
    EXPECT_THAT(result.error, HasSubstr("cannot write to standard output")) << line[0];
  }
}

std::string name_of_case(const testing::TestParamInfo<Case>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Config, BadInput, testing::ValuesIn(config_cases()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Model, BadInput, testing::ValuesIn(model_cases()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Data, BadInput, testing::ValuesIn(data_cases()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Checkpoint, BadInput, testing::ValuesIn(checkpoint_cases()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Place, BadInput, testing::ValuesIn(place_cases()), name_of_case);

}  // namespace
}  // namespace sluice::test
