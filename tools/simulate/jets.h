// Jets after the recipe of the LAGAN set (de Oliveira, Paganini, Nachman, arXiv:1701.05927): boosted W bosons and QCD jets.

#ifndef SARM_SIMULATE_JETS_H
#define SARM_SIMULATE_JETS_H

#include <cmath>
#include <memory>

#include "Pythia8/Pythia.h"
#include "fastjet/ClusterSequence.hh"
#include "fastjet/Selector.hh"
#include "fastjet/contrib/Nsubjettiness.hh"
#include "fastjet/tools/Filter.hh"

#include "calorimeter.h"
#include "image.h"
#include "part.h"
#include "study.h"

namespace jets {

constexpr double pt_from = 250.0, pt_to = 300.0, mass_from = 60.0, mass_to = 100.0, eta_to = 2.0;
constexpr double rapidity_to = 5.0, cell = 0.1;
constexpr int phi_cells = 63;  // 2 pi / 63 = 0.0997
constexpr double threshold = 1e-3;  // GeV
const image::Grid grid{25, 1.25};

inline fastjet::JetDefinition definition() { return {fastjet::antikt_algorithm, 1.0}; }
inline fastjet::Filter trimmer() {
    return {fastjet::JetDefinition(fastjet::kt_algorithm, 0.3), fastjet::SelectorPtFractionMin(0.05)};
}

// Gives up early on events that cannot pass: looks at the partons when the shower has come down to `scale` GeV, long
// before its end. README.md says what that loses.
class Veto : public EarlyVeto {
  public:
    Veto(bool signal, bool act, const Pythia8::Event& process) : EarlyVeto(act), signal_(signal), process_(process) {}

    bool canVetoPT() override { return true; }
    double scaleVetoPT() override { return 10.0; }
    bool doVetoPT(int, const Pythia8::Event& event) override {
        return decide(signal_ ? !boson(event) : !partons(event));
    }

  private:
    bool signal_;
    const Pythia8::Event& process_;

    // The W boson, recoils of the initial state's shower included.
    bool boson(const Pythia8::Event& event) const {
        for (int i = 1; i < process_.size(); ++i) {
            if (process_[i].idAbs() != 24) continue;
            const Pythia8::Vec4 w = recoiled(process_, event, 34, i);
            return w.pT() > 210.0 && w.pT() < 370.0 && std::abs(w.rap()) < 2.3;
        }
        return true;
    }
    static bool partons(const Pythia8::Event& event) {
        std::vector<fastjet::PseudoJet> all;
        for (int i = 0; i < event.size(); ++i) {
            const auto& p = event[i];
            if (p.isFinal() && std::abs(p.y()) < rapidity_to) all.emplace_back(p.px(), p.py(), p.pz(), p.e());
        }
        const fastjet::ClusterSequence sequence(all, definition());
        // The jet that leads now may not lead in the end.
        for (const auto& jet : fastjet::sorted_by_pt(sequence.inclusive_jets(200.0))) {
            const fastjet::PseudoJet trimmed = trimmer()(jet);
            if (trimmed.pt() > 205.0 && trimmed.pt() < 365.0 && trimmed.m() > 25.0 && trimmed.m() < 150.0) return true;
        }
        return false;
    }
};

}  // namespace jets

class Jets : public Study {
  public:
    Jets(Pythia8::Pythia& pythia, const part::Options& o, calorimeter::Random& random)
        : pythia_(pythia), random_(random), repeat_(o.repeat) {
        for (const std::string& name : o.images)
            rotations_.push_back(name == "rebinned" ? image::Rotation::rebinned : image::Rotation::interpolated);
        const bool signal = o.type == "signal";
        if (signal) {
            for (const char* line : {"NewGaugeBoson:ffbar2Wprime = on", "34:m0 = 800.", "Wprime:coup2WZ = 1.",
                                     "34:onMode = off", "34:onIfMatch = 24 23", "24:onMode = off", "24:onIfAny = 1 2 3 4 5",
                                     "23:onMode = off", "23:onIfAny = 12 14 16"})
                pythia.readString(line);
        } else {
            for (const char* line : {"HardQCD:all = on", "PhaseSpace:pTHatMin = 200.", "PhaseSpace:pTHatMax = 400."})
                pythia.readString(line);
        }
        if (repeat_ > 1) pythia.readString("HadronLevel:all = off");
        veto_ = std::make_shared<jets::Veto>(signal, o.veto, pythia.process);
        pythia.setUserHooksPtr(veto_);
    }

    std::vector<std::string> columns() const override {
        std::vector<std::string> names{"jet_pt", "jet_eta", "jet_phi", "jet_mass", "jet_delta_R", "tau_1", "tau_2", "tau_3", "tau_21", "tau_32"};
        if (repeat_ > 1) names.push_back("event");
        return names;
    }
    std::size_t pixels() const override { return jets::grid.pixels() * rotations_.size(); }
    const EarlyVeto* veto() const override { return veto_.get(); }

    int event(long number, std::vector<float>& body) override {
        if (repeat_ == 1) return look(number, 0.0, 0.0, body);
        // The partons hadronise anew for each image, turned about the beam and moved by less than a cell along it: proton
        // collisions look the same then, and the cells lie elsewhere.
        const Pythia8::Event partons = pythia_.event;
        int accepted = 0;
        for (int k = 0; k < repeat_; ++k) {
            pythia_.event = partons;
            if (!pythia_.forceHadronLevel(false)) continue;
            const double turn = random_.uniform(-image::pi, image::pi);
            accepted += look(number, random_.uniform(-0.5, 0.5) * jets::cell, turn, body);
        }
        return accepted;
    }

  private:
    Pythia8::Pythia& pythia_;
    calorimeter::Random& random_;
    int repeat_;
    std::vector<image::Rotation> rotations_;
    std::shared_ptr<jets::Veto> veto_;

    // Appends the event's row if its jet is accepted, the event moved by `shift` in rapidity and `turn` in phi.
    bool look(long number, double shift, double turn, std::vector<float>& body) const {
        using namespace jets;
        const fastjet::ClusterSequence sequence(towers(shift, turn), definition());
        const auto found = fastjet::sorted_by_pt(sequence.inclusive_jets(pt_from));
        if (found.empty()) return false;
        const fastjet::PseudoJet jet = trimmer()(found[0]);
        if (!(jet.pt() > pt_from && jet.pt() < pt_to && jet.m() > mass_from && jet.m() < mass_to &&
              std::abs(jet.eta()) < eta_to))
            return false;
        const auto subjets = fastjet::sorted_by_pt(jet.pieces());
        if (subjets.empty()) return false;
        std::vector<image::Deposit> deposits;
        for (const auto& c : jet.constituents()) deposits.push_back({c.rap(), c.phi_std(), c.pt()});
        const image::Deposit first{subjets[0].rap(), subjets[0].phi_std(), 0.0};
        image::Deposit second{};
        if (subjets.size() > 1) second = {subjets[1].rap(), subjets[1].phi_std(), 0.0};
        double tau[4] = {};
        for (int n = 1; n <= 3; ++n) tau[n] = subjettiness(n)(jet);
        const double distance = subjets.size() > 1 ? subjets[0].delta_R(subjets[1]) : 0.0;
        for (const double x : {jet.pt(), jet.eta(), jet.phi_std(), jet.m(), distance, tau[1], tau[2], tau[3],
                               tau[1] > 0.0 ? tau[2] / tau[1] : 0.0, tau[2] > 0.0 ? tau[3] / tau[2] : 0.0})
            body.push_back(static_cast<float>(x));
        if (repeat_ > 1) body.push_back(static_cast<float>(number));
        for (const image::Rotation rotation : rotations_) {
            const image::Image picture =
                image::of_jet(deposits, first, subjets.size() > 1 ? &second : nullptr, grid, rotation, threshold);
            for (const double pixel : picture) body.push_back(static_cast<float>(pixel));
        }
        return true;
    }

    static fastjet::contrib::Nsubjettiness subjettiness(int n) {
        return {n, fastjet::contrib::OnePass_WTA_KT_Axes(), fastjet::contrib::NormalizedMeasure(1.0, 1.0)};
    }

    // All final particles but neutrinos, energies summed in cells of (rapidity, phi), each a massless particle at the
    // cell's centre.
    std::vector<fastjet::PseudoJet> towers(double shift, double turn) const {
        using namespace jets;
        const int rows = static_cast<int>(2.0 * rapidity_to / cell + 0.5);
        std::vector<double> energy(static_cast<std::size_t>(rows) * phi_cells, 0.0);
        for (int i = 0; i < pythia_.event.size(); ++i) {
            const auto& p = pythia_.event[i];
            if (!p.isFinal() || !p.isVisible()) continue;
            const double y = p.y() + shift;
            if (!(std::abs(y) < rapidity_to)) continue;
            const int row = std::min(static_cast<int>((y + rapidity_to) / cell), rows - 1);
            const int column = std::min(static_cast<int>((image::wrap(p.phi() + turn) + image::pi) / (2.0 * image::pi) * phi_cells), phi_cells - 1);
            energy[static_cast<std::size_t>(row) * phi_cells + column] += shift == 0.0 ? p.e() : p.mT() * std::cosh(y);
        }
        std::vector<fastjet::PseudoJet> out;
        for (std::size_t at = 0; at < energy.size(); ++at) {
            if (!(energy[at] > 0.0)) continue;
            const double y = (static_cast<double>(at / phi_cells) + 0.5) * cell - rapidity_to;
            const double phi = (static_cast<double>(at % phi_cells) + 0.5) * 2.0 * image::pi / phi_cells - image::pi;
            const double pt = energy[at] / std::cosh(y);
            out.emplace_back(pt * std::cos(phi), pt * std::sin(phi), pt * std::sinh(y), energy[at]);
        }
        return out;
    }
};

#endif
