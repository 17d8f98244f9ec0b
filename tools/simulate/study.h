// What a study asks of the event loop.

#ifndef SARM_SIMULATE_STUDY_H
#define SARM_SIMULATE_STUDY_H

#include <string>
#include <vector>

#include "Pythia8/Pythia.h"

// A particle of the hard process as it would leave it now: Pythia's shower keeps what a resonance decays to apart until its
// end, and moves it along with the recoils of the resonance then.
inline Pythia8::Vec4 recoiled(const Pythia8::Event& process, const Pythia8::Event& now, int resonance, int daughter) {
    int before = 0, after = 0;
    for (int i = 1; i < process.size() && !before; ++i) {
        if (process[i].idAbs() == resonance) before = i;
    }
    for (int i = now.size() - 1; i > 0 && !after; --i) {
        if (now[i].idAbs() == resonance) after = i;
    }
    Pythia8::Vec4 p = process[daughter].p();
    if (before && after) {
        Pythia8::RotBstMatrix move;
        move.bst(process[before].p(), now[after].p());
        p.rotbst(move);
    }
    return p;
}

// Gives up on events before they are complete, or, where it may not act, only says which it would have given up.
class EarlyVeto : public Pythia8::UserHooks {
  public:
    explicit EarlyVeto(bool act) : act_(act) {}
    long vetoed = 0;
    // Whether the event that Pythia makes was, or would have been, given up.
    bool hopeless = false;
    bool doVetoProcessLevel(Pythia8::Event&) override { return hopeless = false; }
    bool canVetoProcessLevel() override { return true; }

  protected:
    bool decide(bool verdict) {
        // Pythia may ask more than once in an event.
        if (verdict && !hopeless) ++vetoed;
        hopeless = hopeless || verdict;
        return verdict && act_;
    }

  private:
    bool act_;
};

class Study {
  public:
    virtual ~Study() = default;
    // Names of the numbers that stand before each image's pixels.
    virtual std::vector<std::string> columns() const = 0;
    // Pixels of an image.
    virtual std::size_t pixels() const = 0;
    // Looks at Pythia's event, the `number`-th of the block; appends a row for each image that is accepted and says how
    // many those are.
    virtual int event(long number, std::vector<float>& body) = 0;
    // What gives up events early, if anything does.
    virtual const EarlyVeto* veto() const = 0;
};

#endif
