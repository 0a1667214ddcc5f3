#include <catch2/catch.hpp>
#include <chrono>
#include <random>

#include "layers/base/error.h"
#include "layers/store/database.h"
#include "tests/layers/store/store_fixture.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

/// Sum of what the objects' files take, without the directories.
std::uint64_t object_bytes(const Store& store) {
    std::uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(store.objects_directory())) {
        if (entry.is_regular_file())
            bytes += static_cast<std::uint64_t>(lstat_path(entry.path())->st_blocks) * 512;
    }
    return bytes;
}

}  // namespace

TEST_CASE("df's total is what du says, whatever lies in the store", "[layers][usage]") {
    TempStore temp;
    Store store = temp.open();
    CHECK(store_usage(store).total == du(temp.root()));
    const Digest image = commit_image(
        store, "a", {},
        {{{"large", std::string(3 << 20, 'l')}, {"small", "s"}}, {{"more", std::string(9000, 'm')}}});
    const auto layers = store.catalogue().image(image)->layers;
    store.erofs_view(layers);
    store.directory_view(layers);
    for (unsigned n = 0; n < 3; ++n) {
        store.create_container_directory(container_id(n));
        write_file_durably(store.container_directory(container_id(n)) / "upper" / "file",
                           std::string(10'000, 'u'));
        store.catalogue().write([&](Catalogue::Write& write) {
            write.add_container(container_row(container_id(n), "c" + std::to_string(n), image, layers));
        });
    }
    Transaction running(store, "running");
    stage_files(running, {{"staged", std::string(30'000, 's')}, {"larger", std::string(6 << 20, 't')}});
    write_file_durably(store.path("objects") / "00", "no bucket");
    write_file_durably(store.path("index.json"), "{}");

    const StoreUsage usage = store_usage(store);
    CHECK(usage.total == du(temp.root()));
    CHECK(usage.total == directory_usage(temp.root()).bytes);
    CHECK(usage.inodes == directory_usage(temp.root()).inodes);
    CHECK(usage.objects == (3 << 20) + 4096 + 12288);
    CHECK(usage.image_count == 1);
    CHECK(usage.layer_count == 2);
    CHECK(usage.object_count == 3);
    CHECK(usage.container_count == 3);
    CHECK(usage.images_as_copies == (3 << 20) + 1 + 9000);
    CHECK(usage.images_sharing_layers == (3 << 20) + 1 + 9000);
    CHECK(usage.containers_as_copies == 3 * usage.images_as_copies + usage.containers);
    CHECK(usage.staging >= (6 << 20) + 32768);
    const auto containers = container_usage(store, true);
    REQUIRE(containers.size() == 3);
    CHECK(containers[0].own == du(store.container_directory(container_id(0))));
    CHECK(containers[0].shared == usage.images_as_copies);
    CHECK(container_usage(store, false)[0].own == 0);
    std::filesystem::remove(store.path("objects") / "00");
}

TEST_CASE("directory_usage counts hardlinks once and goes as deep as a tree may be", "[layers][usage]") {
    TempDir temp;
    write_file_durably(temp.path() / "a", std::string(20'000, 'a'));
    std::filesystem::create_hard_link(temp.path() / "a", temp.path() / "b");
    CHECK(directory_usage(temp.path()).bytes == du(temp.path()));
    CHECK(directory_usage(temp.path()).inodes == 2);
    CHECK(directory_usage(temp.path() / "absent").bytes == 0);
    UniqueFd here = open_file(temp.path(), O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 1100; ++i) {
        REQUIRE(::mkdirat(here.get(), "directory", 0755) == 0);
        here = open_file_at(here.get(), "directory", O_RDONLY | O_DIRECTORY);
    }
    CHECK(directory_usage(temp.path()).inodes == 1102);
    CHECK(run_command({"rm", "-rf", (temp.path() / "directory").string()}).status.ok());
}

TEST_CASE("FAIR adds up, UNIQUE <= FAIR <= SIZE, and UNIQUE is what rmi and gc free",
          "[layers][usage][property]") {
    const unsigned seed = store_seed();
    INFO("SURCOAT_TEST_SEED=" << seed);
    std::mt19937 random(seed);
    for (int round = 0; round < 6; ++round) {
        TempStore temp;
        Store store = temp.open(Durability::fast);
        std::vector<DiffId> pool;
        std::vector<Digest> images;
        for (unsigned i = 0; i < 2 + random() % 5; ++i) {
            std::vector<DiffId> below;
            for (const DiffId& layer : pool) {
                if (random() % 3 == 0) below.push_back(layer);
            }
            std::vector<Files> more;
            for (unsigned l = 0; l < 1 + random() % 2; ++l) {
                Files files;
                for (unsigned f = 0; f < 1 + random() % 12; ++f) {
                    files["f" + std::to_string(random() % 40)] =
                        std::string(random() % 5 == 0 ? random() % 60'000 : random() % 30,
                                    static_cast<char>('a' + random() % 3));
                }
                more.push_back(files);
            }
            images.push_back(commit_image(store, "image-" + std::to_string(i), below, more));
            const std::vector<DiffId> chain = store.catalogue().image(images.back())->layers;
            for (const DiffId& layer : chain) {
                if (std::find(pool.begin(), pool.end(), layer) == pool.end()) pool.push_back(layer);
            }
        }
        if (random() % 2 == 0) {
            const Digest& used = images[random() % images.size()];
            store.create_container_directory(container_id(1));
            store.catalogue().write([&](Catalogue::Write& write) {
                write.add_container(
                    container_row(container_id(1), "c", used, store.catalogue().image(used)->layers));
            });
        }
        collect_garbage(store, {});

        double fair = 0;
        for (const ImageUsage& usage : image_usage(store)) {
            fair += usage.fair;
            CHECK(static_cast<double>(usage.unique) <= usage.fair + 0.5);
            CHECK(usage.fair <= static_cast<double>(usage.size) + 0.5);
            CHECK(usage.visible_bytes <= usage.layer_bytes);
        }
        CHECK(fair == Approx(static_cast<double>(object_bytes(store))));
        CHECK(store_usage(store).objects == object_bytes(store));

        while (true) {
            const auto usages = image_usage(store);
            const ImageUsage* victim = nullptr;
            for (const ImageUsage& usage : usages) {
                if (usage.containers == 0 && (victim == nullptr || random() % 2 == 0)) victim = &usage;
            }
            if (victim == nullptr) break;
            const std::uint64_t before = object_bytes(store);
            store.catalogue().write([&](Catalogue::Write& write) { write.remove_image(victim->image); });
            const std::uint64_t reclaimable = store_usage(store).reclaimable;
            CHECK(collect_garbage(store, {}).bytes == reclaimable);
            CHECK(before - object_bytes(store) == victim->unique);
        }
        CHECK(fsck_all(store).empty());
    }
}

TEST_CASE("a thousand containers are listed and measured without walking what they share",
          "[layers][usage]") {
    TempStore temp;
    Store store = temp.open();
    Files files;
    for (int i = 0; i < 500; ++i) files["f" + std::to_string(i)] = "content " + std::to_string(i);
    const Digest image = commit_image(store, "a", {}, {files});
    const auto layers = store.catalogue().image(image)->layers;
    const std::uint64_t before = du(temp.root());
    for (unsigned n = 0; n < 1000; ++n) store.create_container_directory(container_id(n));
    store.catalogue().write([&](Catalogue::Write& write) {
        for (unsigned n = 0; n < 1000; ++n)
            write.add_container(container_row(container_id(n), "c" + std::to_string(n), image, layers));
    });
    CHECK((du(temp.root()) - before) / 1000 < 25 * 1024);
    const auto t0 = std::chrono::steady_clock::now();
    const StoreUsage usage = store_usage(store);
    const auto t1 = std::chrono::steady_clock::now();
    const auto rows = store.catalogue().containers();
    const auto t2 = std::chrono::steady_clock::now();
    std::printf("store: df of 1,000 containers in %.1f ms, ps in %.1f ms\n",
                std::chrono::duration<double, std::milli>(t1 - t0).count(),
                std::chrono::duration<double, std::milli>(t2 - t1).count());
    CHECK(rows.size() == 1000);
    CHECK(usage.total == du(temp.root()));
}
