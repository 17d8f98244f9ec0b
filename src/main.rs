fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let o = sarm::bench::Options{threads:0,configs:a.iter().filter(|x| *x!="--naive").cloned().collect(),seconds:3.0,skip_naive: !a.iter().any(|x| x=="--naive")};
    let r = sarm::bench::run(&o,&|m| eprintln!("{m}")).unwrap();
    println!("{}", serde_json::to_string_pretty(&r).unwrap());
}
