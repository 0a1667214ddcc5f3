// What an import costs over what cannot be avoided: `bench_import ARCHIVE [ROUNDS]`.
//
// The floor is the same pipeline without a store: read, inflate, three hashes (blob, archive, every file),
// and each file written once under its hash; no rules, no toc, no catalogue, nothing synced. Both run in
// turn, each time in an empty directory of one fresh ext4 image (a loop mount; without root: in $TMPDIR, and
// says so). The best of the rounds counts: what is above it is other people's load.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <unordered_set>

#include "layers/base/file.h"
#include "layers/base/process.h"
#include "layers/base/temp_dir.h"
#include "layers/store/import_pipe.h"
#include "layers/store/transaction.h"

namespace {

using namespace surcoat;
using Clock = std::chrono::steady_clock;

struct Cost {
    double wall_ms = 1e18;
    double cpu_ms = 1e18;
};

double cpu_ms() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

void best(Cost& so_far, const std::function<void()>& body) {
    const double cpu = cpu_ms();
    const auto begin = Clock::now();
    body();
    so_far.wall_ms =
        std::min(so_far.wall_ms, std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
    so_far.cpu_ms = std::min(so_far.cpu_ms, cpu_ms() - cpu);
}

class FreshExt4 {
  public:
    FreshExt4() {
        if (::geteuid() != 0) return;
        const auto image = directory_.path() / "ext4.img";
        open_file(image, O_RDWR | O_CREAT).close();
        if (::truncate(image.c_str(), off_t{4} << 30) != 0) return;
        std::filesystem::create_directory(directory_.path() / "mounted");
        mounted_ = run_command({"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0",
                                image.string()})
                       .status.ok() &&
                   run_command({"mount", "-o", "loop", image.string(), path().string()}).status.ok();
    }
    ~FreshExt4() {
        if (mounted_) run_command({"umount", path().string()});
    }
    FreshExt4(const FreshExt4&) = delete;
    FreshExt4& operator=(const FreshExt4&) = delete;
    bool mounted() const { return mounted_; }
    std::filesystem::path path() const {
        return directory_.path() / (mounted_ || ::geteuid() == 0 ? "mounted" : "");
    }

  private:
    TempDir directory_;
    bool mounted_ = false;
};

void floor_of(const std::filesystem::path& archive, const std::filesystem::path& into) {
    std::filesystem::create_directory(into);
    const UniqueFd directory = open_file(into, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 256; ++i) ::mkdirat(directory.get(), fmt::format("{:02x}", i).c_str(), 0755);
    const UniqueFd fd = open_file(archive, O_RDONLY);
    FdSource source(fd.get());
    ArchivePipe pipe(source, {{}, {}, ~std::uint64_t{0}, 0, nullptr, nullptr, "archive"});
    TarReader tar(pipe, nullptr);
    std::vector<std::byte> content;
    std::unordered_set<ObjectId> seen;
    while (const auto member = tar.next()) {
        if (member->content_bytes == 0) continue;
        content.resize(member->content_bytes);
        for (std::size_t at = 0; at < content.size();)
            at += tar.content(MutableByteSpan(content).subspan(at));
        const ObjectId id{sha256(content)};
        if (!seen.insert(id).second) continue;
        const std::string name = id.hex().insert(2, "/");
        const UniqueFd file(
            ::openat(directory.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444));
        write_full(file.get(), content);
    }
    pipe.finish();
}

/// The parts of the last import_into.
struct Parts {
    Cost open, take_in, commit;
};

void import_into(const std::filesystem::path& archive, const std::filesystem::path& root,
                 Durability durability, Parts& parts) {
    StoreOptions options;
    options.root = root;
    options.durability = durability;
    std::optional<Store> store;
    std::optional<Transaction> transaction;
    best(parts.open, [&] {
        store.emplace(options);
        transaction.emplace(*store, "bench");
    });
    best(parts.take_in, [&] {
        const UniqueFd fd = open_file(archive, O_RDONLY);
        FdSource source(fd.get());
        transaction->import_layer(source, {});
    });
    best(parts.commit, [&] { transaction->commit(); });
}

}  // namespace

int main(int argc, char** argv) {
    const std::filesystem::path archive = argc > 1 ? argv[1] : "";
    const int rounds = argc > 2 ? std::atoi(argv[2]) : 5;
    if (!std::filesystem::exists(archive)) {
        fmt::print(
            stderr,
            "no archive at {}: make one, e.g. mmdebstrap --variant=minbase bookworm x.tar && gzip x.tar\n",
            archive.string());
        return 2;
    }
    const FreshExt4 disk;
    if (!disk.mounted())
        fmt::print("no fresh ext4 could be mounted: figures are of {}\n", disk.path().string());
    Cost floor, fast, full, again;
    Parts fast_parts, full_parts, again_parts;
    for (int round = 0; round < rounds; ++round) {
        const auto at = disk.path() / fmt::format("{}", round);
        std::filesystem::create_directory(at);
        best(floor, [&] { floor_of(archive, at / "floor"); });
        ::sync();
        best(fast, [&] { import_into(archive, at / "fast", Durability::fast, fast_parts); });
        ::sync();
        best(full, [&] { import_into(archive, at / "full", Durability::full, full_parts); });
        ::sync();
        best(again, [&] { import_into(archive, at / "full", Durability::full, again_parts); });
        remove_tree(at);
        ::sync();
    }
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto line = [&](const char* what, const Cost& cost) {
        fmt::print("{:<34} {:>8.0f} {:>8.0f} {:>8.2f} {:>8.2f}\n", what, cost.wall_ms, cost.cpu_ms,
                   cost.wall_ms / floor.wall_ms, cost.cpu_ms / floor.cpu_ms);
    };
    fmt::print("{} ({} MB), best of {}\n{:<34} {:>8} {:>8} {:>8} {:>8}\n", archive.string(),
               std::filesystem::file_size(archive) / 1000000, rounds, "", "wall ms", "cpu ms", "x wall",
               "x cpu");
    line("floor: inflate, hash, write", floor);
    const auto import_lines = [&](const char* what, const Cost& cost, const Parts& parts) {
        line(what, cost);
        line("    open the store", parts.open);
        line("    take the archive in", parts.take_in);
        line("    commit", parts.commit);
    };
    import_lines("import, fast durability", fast, fast_parts);
    import_lines("import, full durability", full, full_parts);
    import_lines("the same layer again", again, again_parts);
    fmt::print("peak memory {} MiB\n", usage.ru_maxrss / 1024);
    return 0;
}
