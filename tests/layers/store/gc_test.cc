#include <catch2/catch.hpp>
#include <random>

#include "layers/base/error.h"
#include "layers/store/database.h"
#include "tests/layers/store/store_fixture.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

/// What du says went, beside what gc says.
void check_gc_tells_the_truth(Store& store, const GcOptions& options = {}) {
    GcOptions dry = options;
    dry.dry_run = true;
    const auto classes = [&] {
        std::uint64_t bytes = 0;
        for (const char* part : {"objects", "layers", "blobs", "views", "tx", "containers"})
            bytes += du(store.path(part));
        return bytes;
    };
    const std::uint64_t before = classes();
    const GcResult said = collect_garbage(store, dry);
    CHECK(classes() == before);
    const GcResult done = collect_garbage(store, options);
    CHECK(said.bytes == done.bytes);
    CHECK(said.objects == done.objects);
    CHECK(said.layers == done.layers);
    CHECK(said.images == done.images);
    CHECK(said.blobs == done.blobs);
    CHECK(said.views == done.views);
    CHECK(said.leftovers == done.leftovers);
    CHECK(said.cache_steps == done.cache_steps);
    CHECK(before - classes() == done.bytes);
    CHECK(fsck_all(store).empty());
}

}  // namespace

TEST_CASE("gc frees what has no name, exactly what its dry run said, and du agrees", "[layers][gc]") {
    TempStore temp;
    Store store = temp.open();
    const DiffId base = commit_files(store, {{"a", std::string(50'000, 'a')}, {"b", "shared"}});
    commit_image(store, "keep:1", {base});
    const Digest gone =
        commit_image(store, "gone:1", {base}, {{{"c", std::string(70'000, 'c')}, {"d", "shared"}}});
    store.erofs_view(store.catalogue().image(gone)->layers);
    check_gc_tells_the_truth(store);
    CHECK(store.catalogue().images().size() == 2);
    store.catalogue().write([&](Catalogue::Write& write) { write.remove_image(gone); });
    check_gc_tells_the_truth(store);
    CHECK(store.catalogue().layers().size() == 1);
    CHECK(store.catalogue().has_object(object_of("shared")));
    CHECK_FALSE(std::filesystem::exists(store.object_path(object_of(std::string(70'000, 'c')))));
    CHECK(files_in(store.path("blobs")) == 2);
    CHECK(files_in(store.path("views")) == 0);
    store.catalogue().write([&](Catalogue::Write& write) { write.remove_name("keep:1"); });
    check_gc_tells_the_truth(store);
    CHECK(files_in(store.objects_directory()) == 0);
    CHECK(store.catalogue().layers().empty());
    CHECK_FALSE(store.catalogue().events().empty());
}

TEST_CASE("a container keeps its image, its layers and its view", "[layers][gc]") {
    TempStore temp;
    Store store = temp.open();
    const Digest image = commit_image(store, "app:1", {}, {{{"a", "content"}}});
    const auto layers = store.catalogue().image(image)->layers;
    const auto view = store.erofs_view(layers);
    store.create_container_directory(container_id(1));
    store.catalogue().write([&](Catalogue::Write& write) {
        write.add_container(container_row(container_id(1), "web-1", image, layers));
        write.remove_name("app:1");
    });
    const GcResult result = collect_garbage(store, {});
    CHECK(result.bytes == 0);
    REQUIRE(result.kept.size() == 1);
    CHECK(result.kept[0].why == "container web-1");
    CHECK(result.kept[0].bytes ==
          static_cast<std::uint64_t>(lstat_path(store.object_path(object_of("content")))->st_blocks) * 512);
    CHECK(std::filesystem::exists(view));
    CHECK(store.has_blob(image));
    store.catalogue().write([&](Catalogue::Write& write) { write.remove_container(container_id(1)); });
    store.remove_container_directory(container_id(1));
    check_gc_tells_the_truth(store);
    CHECK_FALSE(std::filesystem::exists(view));
    CHECK(store.catalogue().images().empty());
}

TEST_CASE("a lease keeps layers until it ends, and says whose it is", "[layers][gc]") {
    TempStore temp;
    Store store = temp.open();
    const DiffId layer = commit_files(store, {{"a", "leased"}});
    {
        Lease lease(store, "build shop:1");
        lease.hold_layers(std::vector{layer});
        const auto view = store.erofs_view(std::vector{layer});
        const GcResult result = collect_garbage(store, {});
        CHECK(result.layers == 0);
        REQUIRE(result.kept.size() == 1);
        CHECK(result.kept[0].why == fmt::format("lease of process {}: build shop:1", ::getpid()));
        CHECK(result.kept[0].bytes == 4096);
        CHECK(std::filesystem::exists(view));
        CHECK_THROWS_WITH(lease.hold_layers(std::vector{DiffId{Digest::of("x")}}),
                          Catch::Contains("is not in the store (any more)"));
    }
    check_gc_tells_the_truth(store);
    CHECK(store.catalogue().layers().empty());
    CHECK(files_in(store.path("views")) == 0);
}

TEST_CASE("a lease of a dead process holds nothing, nor does its transaction", "[layers][gc]") {
    TempStore temp;
    { Store store = temp.open(); }
    const ExitStatus status = in_child([&] {
        Store store = temp.open();
        const DiffId layer = commit_files(store, {{"a", "leased"}});
        auto* lease = new Lease(store, "will be killed");
        lease->hold_layers(std::vector{layer});
        auto* tx = new Transaction(store, "will be killed");
        stage_files(*tx, {{"b", "staged"}, {"c", std::string(5 << 20, 'c')}});
        ::raise(SIGKILL);
    });
    CHECK(status.signal == SIGKILL);
    Store store = temp.open();
    CHECK(fsck_errors(store).empty());
    CHECK_THAT(fsck_all(store), Catch::Contains("will be killed"));
    check_gc_tells_the_truth(store);
    CHECK(files_in(store.objects_directory()) == 0);
    CHECK(files_in(store.path("tx")) == 0);
    CHECK(store.catalogue().database().integer("SELECT count(*) FROM leases") == 0);
}

TEST_CASE("what a running transaction found present is not taken from under it", "[layers][gc]") {
    TempStore temp;
    Store store = temp.open();
    Store collector = temp.open();
    commit_files(store, {{"a", "found"}});  // no name: garbage
    Transaction tx(store, "import");
    tx.add_object(as_bytes("found"));
    CHECK(files_in(store.objects_directory()) == 1);
    const GcResult first = collect_garbage(collector, {});
    CHECK(first.layers == 1);
    CHECK(first.objects == 0);
    REQUIRE_FALSE(first.kept.empty());
    CHECK_THAT(first.kept.back().why, Catch::Contains("may be about to use them: import"));

    SECTION("it uses it: the object lives") {
        const DiffId layer = stage_files(tx, {{"b", "found"}});
        tx.commit([&](Catalogue::Write& write) {
            write.put_cache({.key = "k", .parts_json = "", .layer = layer, .used_at = 0});
        });
        collect_garbage(collector, {.dry_run = false, .keep_cache = true});
        CHECK(fsck_all(store).empty());
        CHECK(store.catalogue().has_object(object_of("found")));
    }
    SECTION("a later one does not find it, and brings its own") {
        Transaction later(collector, "later");
        later.add_object(as_bytes("found"));
        CHECK(files_in(store.objects_directory()) == 2);
        const DiffId layer = later.add_layer({add("b", file("found"))});
        later.commit();
        CHECK(files_in(store.objects_directory()) == 1);
        CHECK(store.catalogue().layer(layer));
        CHECK(store.catalogue().has_object(object_of("found")));
        CHECK(fsck_errors(store).empty());
    }
    SECTION("it does not: the next gc takes it") {
        { Transaction over = std::move(tx); }
        check_gc_tells_the_truth(collector);
        CHECK(files_in(store.objects_directory()) == 0);
    }
}

TEST_CASE("a layer that gc takes while an import holds it staged is published after all", "[layers][gc]") {
    TempStore temp;
    Store store = temp.open();
    Store collector = temp.open();
    const DiffId layer = commit_files(store, {{"a", "content"}});
    Transaction tx(store, "import");
    CHECK(stage_files(tx, {{"a", "content"}}) == layer);
    CHECK(collect_garbage(collector, {}).layers == 1);
    CHECK_FALSE(store.catalogue().layer(layer));
    tx.commit();
    REQUIRE(store.catalogue().layer(layer));
    CHECK(fsck_all(store).empty());
}

TEST_CASE("the build cache goes with gc unless it is to be kept", "[layers][gc]") {
    TempStore temp;
    Store store = temp.open();
    const DiffId cached = commit_files(store, {{"a", "cached"}});
    const Digest image = commit_image(store, "app:1", {}, {{{"b", "in use"}}});
    store.catalogue().write([&](Catalogue::Write& write) {
        write.put_cache({.key = "only", .parts_json = "", .layer = cached, .used_at = 0});
        write.put_cache({.key = "used",
                         .parts_json = "",
                         .layer = store.catalogue().image(image)->layers[0],
                         .used_at = 0});
        write.put_cache({.key = "none", .parts_json = "", .layer = {}, .used_at = 0});
    });
    const GcResult kept = collect_garbage(store, {.dry_run = false, .keep_cache = true});
    CHECK(kept.bytes == 0);
    CHECK(kept.cache_steps == 0);
    REQUIRE(kept.kept.size() == 1);
    CHECK(kept.kept[0].why == "the build cache");
    check_gc_tells_the_truth(store);
    CHECK(store.catalogue().cache_rows().size() == 1);
    CHECK(store.catalogue().cache("used"));
    CHECK(store.catalogue().layers().size() == 1);
}

TEST_CASE("gc takes container directories without a row, but not while they are being made", "[layers][gc]") {
    TempStore temp;
    Store collector = temp.open();
    {
        Store maker = temp.open();
        maker.create_container_directory(container_id(1));
        CHECK(collect_garbage(collector, {.dry_run = true}).bytes == 0);
        const GcResult result = collect_garbage(collector, {});
        CHECK(result.leftovers == 0);
        CHECK(result.kept.size() == 1);
        CHECK(fsck_all(collector).empty());
        CHECK(std::filesystem::exists(collector.container_directory(container_id(1))));
    }
    CHECK_THAT(fsck_all(collector), Catch::Contains("garbage file containers/"));
    check_gc_tells_the_truth(collector);
    CHECK(std::filesystem::is_empty(collector.path("containers")));
}

TEST_CASE("a container's directory can be removed while the process that made it still runs", "[layers][gc]") {
    TempStore temp;
    Store maker = temp.open();
    Store other = temp.open();
    maker.create_container_directory(container_id(1));
    other.remove_container_directory(container_id(1));
    CHECK(std::filesystem::is_empty(other.path("containers")));
    CHECK(std::filesystem::is_empty(other.path("tx")));
    CHECK_NOTHROW(other.remove_container_directory(container_id(1)));
}

TEST_CASE("processes that import and a process that collects all the time leave a whole store",
          "[layers][gc]") {
    TempStore temp;
    { Store store = temp.open(); }
    constexpr int kWriters = 4;
    constexpr int kRounds = 40;
    const unsigned seed = store_seed();
    INFO("SURCOAT_TEST_SEED=" << seed);
    const pid_t collector = start_child([&] {
        Store store = temp.open();
        while (!std::filesystem::exists(temp.directory.path() / "done")) collect_garbage(store, {});
    });
    std::vector<pid_t> writers;
    for (int w = 0; w < kWriters; ++w) {
        writers.push_back(start_child([&] {
            std::mt19937 random(seed + static_cast<unsigned>(w));
            Store store = temp.open();
            for (int round = 0; round < kRounds; ++round) {
                Files files;  // few different contents, so that they meet in all states
                for (int i = 0; i < 8; ++i)
                    files["f" + std::to_string(i)] = "content " + std::to_string(random() % 24);
                const std::string name = fmt::format("image-{}-{}", w, random() % 3);
                const Digest image = commit_image(store, name, {}, {files});
                const auto layers = store.catalogue().image(image)->layers;
                for (const auto& layer : layers) {
                    StringSink archive;
                    store.write_archive(layer, archive);
                }
                store.erofs_view(layers);
                if (random() % 2 == 0)
                    store.catalogue().write([&](Catalogue::Write& write) { write.remove_image(image); });
            }
        }));
    }
    for (const pid_t writer : writers) CHECK(wait_for(writer).ok());
    open_file(temp.directory.path() / "done", O_WRONLY | O_CREAT).close();
    CHECK(wait_for(collector).ok());
    Store store = temp.open();
    CHECK(fsck_errors(store).empty());
    check_gc_tells_the_truth(store);
}
