// Surroundings of muons: prompt ones of a light Z', ones of bottom decays, with pile-up, in a simple calorimeter. After the
// second study of Lu et al., arXiv:2009.14017.

#ifndef SARM_SIMULATE_MUONS_H
#define SARM_SIMULATE_MUONS_H

#include <algorithm>
#include <cmath>
#include <memory>

#include "Pythia8/Pythia.h"

#include "calorimeter.h"
#include "image.h"
#include "part.h"
#include "study.h"

namespace muons {

constexpr double pt_from = 10.0, pt_to = 15.0, eta_to = 2.5;
constexpr double mean_pileup = 50.0;
const image::Grid grid{32, 0.4};
// A hit this far from the image's edge can still share a tower with it.
constexpr double margin_eta = 0.21, margin_phi = 0.36;

// Bottom hadrons decay up to this often in each event of the background, until `most` of the decays gave a muon in range;
// the event is kept with probability successes / most, the first success as the image. One image an event, at the price
// that events in which more than `most` / `tries` of the decays succeed are kept too rarely: README.md.
constexpr int tries = 48, most = 5;

inline calorimeter::Particle particle(const Pythia8::Particle& p, double z) {
    // Pythia counts in mm.
    return {p.id(), p.charge(), p.px(), p.py(), p.pz(), p.e(), 1e-3 * p.xProd(), 1e-3 * p.yProd(), 1e-3 * p.zProd() + z};
}

inline bool in_range(const Pythia8::Particle& p) {
    return p.idAbs() == 13 && p.isFinal() && p.pT() > pt_from && p.pT() < pt_to && std::abs(p.eta()) < eta_to;
}

// Gives up early on events that cannot pass. README.md says what that loses.
class Veto : public EarlyVeto {
  public:
    Veto(bool signal, bool act, const Pythia8::Event& process) : EarlyVeto(act), signal_(signal), process_(process) {}

    bool canVetoPT() override { return signal_; }
    double scaleVetoPT() override { return 4.0; }
    // The Z' after recoils of the first emissions: its muons move little from here on.
    bool doVetoPT(int, const Pythia8::Event& event) override {
        bool hopeless = true;
        for (int i = 1; i < process_.size(); ++i) {
            if (process_[i].idAbs() != 13) continue;
            const Pythia8::Vec4 p = recoiled(process_, event, 32, i);
            if (p.pT() > 7.0 && p.pT() < 20.0 && std::abs(p.eta()) < 3.0) hopeless = false;
        }
        return decide(hopeless);
    }

    bool canVetoPartonLevel() override { return !signal_; }
    bool doVetoPartonLevel(const Pythia8::Event& event) override {
        bool hopeless = true;
        for (int i = 0; i < event.size(); ++i) {
            const auto& p = event[i];
            if (p.isFinal() && p.idAbs() == 5 && p.pT() > 9.0 && std::abs(p.eta()) < 3.0) hopeless = false;
        }
        return decide(hopeless);
    }

  private:
    bool signal_;
    const Pythia8::Event& process_;
};

}  // namespace muons

// Minimum-bias events as hits of the calorimeter, to be overlaid as pile-up. A row: the number of hits, then the hits,
// ordered by eta.
class Pool : public Study {
  public:
    Pool(Pythia8::Pythia& pythia, calorimeter::Random& random) : pythia_(pythia), random_(random) {
        pythia.readString("SoftQCD:inelastic = on");
    }
    std::vector<std::string> columns() const override { return {}; }
    std::size_t pixels() const override { return 0; }
    const EarlyVeto* veto() const override { return nullptr; }

    int event(long, std::vector<float>& body) override {
        const double z = calorimeter::vertex(random_);
        std::vector<calorimeter::Hit> hits;
        calorimeter::Hit hit;
        for (int i = 0; i < pythia_.event.size(); ++i) {
            const auto& p = pythia_.event[i];
            if (p.isFinal() && propagate(muons::particle(p, z), hit) && std::abs(hit.eta) < 3.0f) hits.push_back(hit);
        }
        std::sort(hits.begin(), hits.end(), [](const auto& a, const auto& b) { return a.eta < b.eta; });
        body.push_back(static_cast<float>(hits.size()));
        for (const auto& h : hits) body.insert(body.end(), {h.eta, h.phi, h.ecal, h.hcal});
        return 1;
    }

  private:
    Pythia8::Pythia& pythia_;
    calorimeter::Random& random_;
};

class Muons : public Study {
  public:
    Muons(Pythia8::Pythia& pythia, const part::Options& o, calorimeter::Random& random)
        : pythia_(pythia), random_(random), signal_(o.type == "signal"), repeat_(o.repeat) {
        if (signal_) {
            // A pure Z' (no photon, no Z) of 20 GeV; its natural width is kept.
            for (const char* line : {"NewGaugeBoson:ffbar2gmZZprime = on", "Zprime:gmZmode = 3", "32:m0 = 20.",
                                     "32:mMin = 10.", "32:mMax = 30.", "32:onMode = off", "32:onIfAny = 13"})
                pythia.readString(line);
        } else {
            for (const char* line : {"HardQCD:hardbbbar = on", "PhaseSpace:pTHatMin = 15.", "HadronLevel:Decay = off"})
                pythia.readString(line);
        }
        veto_ = std::make_shared<muons::Veto>(signal_, o.veto, pythia.process);
        pythia.setUserHooksPtr(veto_);
        for (const std::string& path : o.pool) load(path);
        if (pool_.empty()) throw std::runtime_error("the pool of minimum-bias events is empty");
    }

    std::vector<std::string> columns() const override {
        std::vector<std::string> names{"muon_pt", "muon_eta", "muon_phi", "muon_charge", "cone_10", "cone_20", "cone_30", "cone_40", "n_pileup"};
        if (repeat_ > 1) names.push_back("event");
        return names;
    }
    std::size_t pixels() const override { return muons::grid.pixels(); }
    const EarlyVeto* veto() const override { return veto_.get(); }

    int event(long number, std::vector<float>& body) override {
        const int at = signal_ ? prompt() : bottom();
        if (at < 0) return 0;
        Pythia8::Event& event = pythia_.event;
        for (int k = 0; k < repeat_; ++k) {
            // Each image has pile-up, a vertex and a response of its own, and lies elsewhere among the towers: proton
            // collisions and the detector look the same from any side of the beam, and from both of its ends.
            if (repeat_ > 1) {
                event.rot(0.0, random_.uniform(-image::pi, image::pi));
                if (random_.uniform() < 0.5) mirror(event);
            }
            look(number, event[at], body);
        }
        return repeat_;
    }

  private:
    Pythia8::Pythia& pythia_;
    calorimeter::Random& random_;
    bool signal_;
    int repeat_;
    std::shared_ptr<muons::Veto> veto_;
    std::vector<std::vector<calorimeter::Hit>> pool_;

    static void mirror(Pythia8::Event& event) {
        for (int i = 0; i < event.size(); ++i) {
            auto& p = event[i];
            p.pz(-p.pz());
            if (p.hasVertex()) p.zProd(-p.zProd());
        }
    }

    // Appends the row of the image around `muon`.
    void look(long number, const Pythia8::Particle& muon, std::vector<float>& body) {
        const double eta = muon.eta(), phi = muon.phi();
        std::vector<calorimeter::Hit> hits;
        const auto near = [&](float hit_eta, double hit_phi) {
            return std::abs(hit_eta - eta) < muons::grid.range + muons::margin_eta &&
                   std::abs(image::wrap(hit_phi - phi)) < muons::grid.range + muons::margin_phi;
        };
        const double z = calorimeter::vertex(random_);
        calorimeter::Hit hit;
        for (int i = 0; i < pythia_.event.size(); ++i) {
            const auto& p = pythia_.event[i];
            if (p.isFinal() && propagate(muons::particle(p, z), hit) && near(hit.eta, hit.phi)) hits.push_back(hit);
        }
        const int pileup = random_.poisson(muons::mean_pileup);
        for (int n = 0; n < pileup; ++n) overlay(hits, eta, near);

        const auto deposits = image::centred(calorimeter::respond(hits, random_), eta, phi);
        const image::Image picture = image::bin(deposits, muons::grid);
        double cone[4] = {};
        for (const auto& d : deposits) {
            for (int i = 0; i < 4; ++i) {
                if (std::hypot(d.eta, d.phi) < 0.1 * (i + 1)) cone[i] += d.pt;
            }
        }
        for (const double x : {muon.pT(), eta, phi, muon.charge(), cone[0], cone[1], cone[2], cone[3], 1.0 * pileup})
            body.push_back(static_cast<float>(x));
        if (repeat_ > 1) body.push_back(static_cast<float>(number));
        for (const double pixel : picture) body.push_back(static_cast<float>(pixel));
    }

    void load(const std::string& path) {
        const std::vector<float> body = part::read(path);
        for (std::size_t at = 0; at < body.size();) {
            const auto n = static_cast<std::size_t>(body[at++]);
            if (at + 4 * n > body.size()) throw std::runtime_error("'" + path + "' is cut short");
            std::vector<calorimeter::Hit> hits;
            for (std::size_t i = 0; i < n; ++i, at += 4) hits.push_back({body[at], body[at + 1], body[at + 2], body[at + 3]});
            pool_.push_back(std::move(hits));
        }
    }

    // One minimum-bias event of the pool, turned by a random angle about the beam and mirrored end to end in half of the
    // cases: proton-proton collisions and the detector look the same then.
    template <class Near>
    void overlay(std::vector<calorimeter::Hit>& hits, double eta, const Near& near) {
        const auto& event = pool_[random_.below(pool_.size())];
        const double turn = random_.uniform(-image::pi, image::pi);
        const float mirror = random_.uniform() < 0.5 ? -1.0f : 1.0f;
        const double reach = muons::grid.range + muons::margin_eta, middle = mirror * eta;
        auto hit = std::lower_bound(event.begin(), event.end(), middle - reach,
                                    [](const calorimeter::Hit& h, double limit) { return h.eta < limit; });
        for (; hit != event.end() && hit->eta < middle + reach; ++hit) {
            const double phi = image::wrap(hit->phi + turn);
            if (near(mirror * hit->eta, phi)) hits.push_back({mirror * hit->eta, static_cast<float>(phi), hit->ecal, hit->hcal});
        }
    }

    // The hardest of the Z' boson's muons that are in range, or -1.
    int prompt() const {
        int best = -1;
        for (int i = 0; i < pythia_.event.size(); ++i) {
            const auto& p = pythia_.event[i];
            if (!muons::in_range(p) || pythia_.event[pythia_.event[p.iTopCopyId()].mother1()].id() != 32) continue;
            if (best < 0 || p.pT() > pythia_.event[best].pT()) best = i;
        }
        return best;
    }

    // Lets the bottom hadrons decay again and again; the hardest muon in range of the first success, or -1.
    int bottom() {
        Pythia8::Event& event = pythia_.event;
        std::vector<int> bottoms;
        for (int i = 0; i < event.size(); ++i) {
            const auto& p = event[i];
            // A decay adds no more than half of the hadron's mass to a muon's transverse momentum.
            if (p.isFinal() && p.isHadron() && p.particleDataEntry().nQuarksInCode(5) > 0 && p.pT() > muons::pt_from - 2.7 &&
                std::abs(p.eta()) < 3.2)
                bottoms.push_back(i);
        }
        if (bottoms.empty()) return -1;
        const int size = event.size();
        std::vector<Pythia8::Particle> before;
        for (const int b : bottoms) before.push_back(event[b]);
        Pythia8::Event kept;
        int successes = 0, muon = -1;
        for (int attempt = 0; attempt < muons::tries && successes < muons::most; ++attempt) {
            for (const int b : bottoms) decay(b);
            const int found = from_decays(size);
            if (found >= 0 && ++successes == 1) {
                muon = found;
                kept = event;
            }
            // Back to where it was: copying the whole event would take longer than the decays.
            event.popBack(event.size() - size);
            for (std::size_t i = 0; i < bottoms.size(); ++i) event[bottoms[i]] = before[i];
        }
        if (successes == 0) return -1;
        if (random_.uniform() * muons::most >= successes) return -1;
        event = kept;
        return pythia_.moreDecays() ? muon : -1;
    }

    void decay(int first) {
        Pythia8::Event& event = pythia_.event;
        const auto one = [&](int i) {
            if (event[i].isFinal() && event[i].canDecay() && event[i].mayDecay()) pythia_.moreDecays(i);
        };
        int next = event.size();
        one(first);
        for (; next < event.size(); ++next) {
            // Light particles wait: no muon above 10 GeV is worth their time.
            if (event[next].m() > 1.2) one(next);
        }
    }

    int from_decays(int begin) const {
        int best = -1;
        for (int i = begin; i < pythia_.event.size(); ++i) {
            if (muons::in_range(pythia_.event[i]) && (best < 0 || pythia_.event[i].pT() > pythia_.event[best].pT())) best = i;
        }
        return best;
    }
};

#endif
