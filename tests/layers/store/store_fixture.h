#pragma once
// A store of its own for each case, layers and images made of a few files, and children to kill.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "layers/base/file.h"
#include "layers/base/process.h"
#include "layers/base/temp_dir.h"
#include "layers/store/fsck.h"
#include "layers/store/gc.h"
#include "layers/store/lease.h"
#include "layers/store/transaction.h"
#include "layers/store/usage.h"
#include "tests/support/tree.h"

namespace surcoat::test {

using Files = std::map<std::string, std::string>;  ///< path → content

struct TempStore {
    TempDir directory;
    std::filesystem::path root() const { return directory.path() / "store"; }
    Store open(Durability durability = Durability::full) const {
        return Store({.root = root(), .durability = durability});
    }
};

/// Stages a layer of plain files.
inline DiffId stage_files(Transaction& tx, const Files& files, std::int64_t mtime = 1'600'000'000) {
    std::vector<Entry> entries;
    for (const auto& [path, content] : files) {
        Inode inode = file(content);
        inode.mtime = {mtime, 0};
        if (!content.empty()) inode.object = tx.add_object(as_bytes(content));
        entries.push_back(add(path, inode));
    }
    return tx.add_layer(entries);
}

inline DiffId commit_files(Store& store, const Files& files, std::int64_t mtime = 1'600'000'000) {
    Transaction tx(store, "test");
    const DiffId id = stage_files(tx, files, mtime);
    tx.commit();
    return id;
}

/// An image with a configuration and a manifest of its own, on `layers` and then `more`.
inline Digest commit_image(Store& store, const std::string& name, const std::vector<DiffId>& layers,
                           const std::vector<Files>& more = {}) {
    Transaction tx(store, "test image " + name);
    std::vector<DiffId> chain = layers;
    for (const Files& files : more) chain.push_back(stage_files(tx, files));
    const Digest config = tx.add_blob("config of " + name, "application/vnd.oci.image.config.v1+json");
    const Digest manifest = tx.add_blob("manifest of " + name, "application/vnd.oci.image.manifest.v1+json");
    tx.commit([&](Catalogue::Write& write) {
        write.add_image(
            {.id = config, .manifest = manifest, .layers = chain, .added_at = 1, .created_at = {}});
        write.set_name(name, config);
    });
    return config;
}

inline ContainerRow container_row(const std::string& id, const std::string& name, const Digest& image,
                                  std::vector<DiffId> layers) {
    return {.id = id,
            .name = name,
            .image = image,
            .image_name = "x",
            .layers = std::move(layers),
            .spec = "{}",
            .state = "created",
            .monitor = {},
            .init = {}};
}
inline std::string container_id(unsigned n) {
    return fmt::format("{:064x}", n + 1);
}

/// $SURCOAT_TEST_SEED, else a new one; cases print it.
inline unsigned store_seed() {
    if (const char* given = std::getenv("SURCOAT_TEST_SEED"))
        return static_cast<unsigned>(std::strtoul(given, nullptr, 10));
    return std::random_device()();
}

/// "severity what: problem" lines.
inline std::string describe(const std::vector<Finding>& findings, bool errors_only) {
    std::string text;
    for (const Finding& f : findings) {
        if (errors_only && f.severity != Finding::Severity::error) continue;
        text += fmt::format("{} {}: {} [{}]\n", f.severity == Finding::Severity::error ? "error" : "garbage",
                            f.what, f.problem, f.remedy);
    }
    return text;
}
inline std::string fsck_errors(Store& store) {
    return describe(check_store(store, {.deep = true}), true);
}
inline std::string fsck_all(Store& store) {
    return describe(check_store(store, {.deep = true}), false);
}

inline std::uint64_t du(const std::filesystem::path& path) {
    const CommandResult result = run_command({"du", "-B1", "-s", path.string()});
    return std::strtoull(result.output.c_str(), nullptr, 10);
}

/// Files of objects/ (staged ones too).
inline std::uint64_t files_in(const std::filesystem::path& directory) {
    std::uint64_t n = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory))
        n += entry.is_regular_file() ? 1 : 0;
    return n;
}

/// Runs `body` in a child; no Catch2 in it. `body`'s exceptions are printed and give exit status 99.
inline pid_t start_child(const std::function<void()>& body) {
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    int status = 0;
    try {
        body();
    } catch (const std::exception& e) {
        std::fprintf(stderr, "child: %s\n", e.what());
        status = 99;
    }
    std::fflush(nullptr);
    ::_exit(status);
}
inline ExitStatus in_child(const std::function<void()>& body) {
    return wait_for(start_child(body));
}

}  // namespace surcoat::test
