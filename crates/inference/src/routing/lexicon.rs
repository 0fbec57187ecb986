//! Words by which `heuristic-1` knows what a question is about.
//!
//! An entry with a star is the beginning of a word; one with a space, or in a script without
//! spaces, is looked for anywhere; any other is a whole word. All are in lower case. The languages
//! are those that the people of the first installations write; others fall back on what needs no
//! words: length, code, formulas, addresses, lists.
//!
//! Changing an entry changes what `heuristic-1` says: look at `nexus providers route-eval` before
//! and after.

/// Asks for thought.
#[rustfmt::skip]
pub(super) const REASONING: &[&str] = &[
    "why", "explain*", "compare", "comparison", "analyse", "analyze", "analysis", "evaluate",
    "justify", "argue", "discuss", "trade-offs", "tradeoffs", "step by step", "difference between",
    "differences", "advantages", "disadvantages", "pros and cons", "consider", "how does",
    "how do", "how can", "assess", "critically", "causes", "reason", "reasons", "outline",
    "summarise", "summarize", "describe", "debug*", "convince", "solve*", "what happens", "warum",
    "erklär*", "vergleich*", "analysier*", "bewerte*", "begründe*", "diskutier*", "vorteile",
    "nachteile", "nachteilen", "schritt für schritt", "unterschied*", "ursachen", "fasse",
    "zusammenfass*", "beurteil*", "wie funktioniert", "löse", "pourquoi", "expliqu*", "comparer",
    "compare*", "analyse*", "avantages", "inconvénients", "différence*", "résum*", "justifi*",
    "explica*", "compara*", "analiza*", "ventajas", "desventajas", "diferencia*", "por qué",
    "resum*", "spiega*", "confronta*", "analizza*", "vantaggi", "differenz*", "perché", "riassum*",
    "explique", "diferença*", "leg uit", "verschil", "wyjaśnij", "różnic*", "dlaczego", "açıkla*",
    "artı*", "объясн*", "сравни*", "почему", "разбери", "перескажи*", "разниц*", "解释", "分析", "比较",
    "为什么", "説明", "比較", "仕組み", "なぜ",
];

/// Asks for something to be made.
#[rustfmt::skip]
pub(super) const MAKING: &[&str] = &[
    "write a", "write an", "write me", "draft*", "create*", "implement*", "build", "develop*",
    "design*", "compose", "generate", "plan", "rewrite this", "refactor*", "turn these",
    "schreibe*", "erstell*", "entwirf", "entwickl*", "implementier*", "formulier*", "plane",
    "écris*", "rédige*", "conçois", "crée*", "développe*", "escrib*", "diseñ*", "crea", "redacta",
    "scrivi", "progetta*", "crea un*", "escreva", "crie", "schrijf", "napisz", "yaz", "напиши",
    "создай", "写一", "设计", "書いて", "設計",
];

/// Asks for certainty, which no short answer gives.
#[rustfmt::skip]
pub(super) const PROOF: &[&str] = &[
    "prove", "proof", "proofs", "derive", "derivation", "rigorously", "np-hardness", "beweise",
    "beweis", "beweisen", "herleiten", "herleitung", "leite", "démontre", "démontrer",
    "démonstration*", "demuestra", "demostrar", "dimostra", "dimostrare", "prove que", "bewijs",
    "udowodnij", "kanıtla", "докажи", "доказать", "доказательство", "证明", "証明",
];

/// Belongs to questions that take an expert.
#[rustfmt::skip]
pub(super) const DEPTH: &[&str] = &[
    "prove*", "proof*", "derive*", "derivation", "theorem*", "rigorous*", "formal", "formally",
    "distributed", "consensus", "concurren*", "lock-free", "deadlock*", "linearizab*",
    "invariant*", "architecture*", "np-hard*", "complexity", "approximation", "equilibri*",
    "differential", "eigenvalue*", "integral*", "undecidab*", "cryptograph*", "protocol*",
    "compiler*", "causal", "optimal", "optimise", "optimize", "multi-tenan*", "row-level",
    "zero downtime", "partition*", "strategy", "stability", "objections", "assumptions", "crdt",
    "raft", "paxos", "migration", "due diligence", "compliance", "gdpr", "state of",
    "independent sources", "scenarios", "beweis*", "herleit*", "leite", "architektur*",
    "verteilt*", "nebenläufig*", "komplexität", "invariante*", "verklemmung*", "differentiell*",
    "optimier*", "rechtlich*", "haftung*", "systematisch*", "rekonstruier*", "heuristik",
    "kritisch", "stetig*", "démontr*", "démonstration*", "théorème*", "architecture", "tolérant*",
    "cohérence", "demuestr*", "teorema*", "algoritmo*", "distribuid*", "bizantin*", "dimostra*",
    "ipotesi", "prova que", "bewijs", "udowodnij", "kanıtla*", "докажи*", "теорем*", "证明", "定理",
    "算法", "証明", "アルゴリズム", "分散",
];

/// Limits what an answer may be.
#[rustfmt::skip]
pub(super) const CONSTRAINTS: &[&str] = &[
    "must", "should", "at least", "at most", "exactly", "without", "no more than", "never",
    "every", "each", "only", "within", "including", "constraint*", "muss", "müssen", "mindestens",
    "höchstens", "genau", "ohne", "jede", "jeder", "jeden", "nur", "doit", "chaque", "sans",
    "au moins", "debe", "cada", "sin", "al menos", "ogni", "senza",
];

/// Words of programs.
#[rustfmt::skip]
pub(super) const CODE: &[&str] = &[
    "python", "javascript", "typescript", "rust", "java", "c++", "sql", "bash", "regex",
    "regular expression", "react", "pandas", "git", "api", "function", "funktion", "fonction",
    "función", "compiler*", "unit test", "script", "class", "schema", "query", "postgresql",
    "kafka", "thread*", "async",
];

/// Words of mathematics.
#[rustfmt::skip]
pub(super) const MATHS: &[&str] = &[
    "equation*", "gleichung*", "équation*", "ecuación*", "integral*", "matrix", "theorem*",
    "prime*", "probability", "wahrscheinlichkeit*", "derivative*", "polynomial*", "converg*",
    "konverg*", "wurzel", "série", "funktion auf", "eigenvalue*", "algebra", "álgebra",
    "numeri reali", "последовательност*", "连续函数", "方程",
];

/// Wants no more than a line.
#[rustfmt::skip]
pub(super) const SMALL_TALK: &[&str] = &[
    "hi", "hello", "hey", "thanks", "thank you", "ok", "okay", "yes", "good night", "good morning",
    "joke", "translate*", "synonym*", "plural", "capital of", "spell", "how many", "what is the",
    "who wrote", "typo", "convert", "shorten*", "stands for", "lower case", "upper case", "hallo",
    "danke", "witz", "übersetz*", "hauptstadt", "wie viele", "mehrzahl", "bedeutet", "korrigier*",
    "wie heißt", "großbuchstaben", "bonjour", "salut", "merci", "traduis*", "capitale", "combien",
    "hola", "gracias", "cuántos", "capital de", "ciao", "grazie", "come si dice", "olá",
    "obrigad*", "hoeveel", "hoi", "dank", "jak jest po", "cześć", "merhaba", "başkenti", "привет",
    "спасибо", "сколько", "你好", "谢谢", "首都", "こんにちは", "ありがとう", "英語で",
];

/// Says that somebody is to look.
#[rustfmt::skip]
pub(super) const WEB_EXPLICIT: &[&str] = &[
    "search the web", "search the internet", "search online", "search for", "look up",
    "look online", "check online", "google", "find online", "on the web", "browse",
    "online reviews", "fact-check", "find recent", "find out who", "im internet", "im netz",
    "im web", "googl*", "recherchier*", "schau nach", "sur internet", "en ligne", "cherche sur",
    "en internet", "busca en", "cerca su internet", "su internet", "na internet", "op internet",
    "zoek op", "w internecie", "internette", "в интернете", "搜索", "上网", "検索",
];

/// Asks where it is from.
#[rustfmt::skip]
pub(super) const WEB_CITES: &[&str] = &[
    "cite", "citing", "citations", "give sources", "with sources", "your sources", "with links",
    "with citations", "up-to-date sources", "independent sources", "quelle", "quellen",
    "quellenangabe*", "mit belegen", "avec des sources", "sources fiables", "con fuentes",
    "citando", "le fonti", "com fontes", "met bronnen", "ze źródłami", "kaynak*", "с источниками",
    "источник*", "来源", "出典",
];

/// Speaks of now.
#[rustfmt::skip]
pub(super) const WEB_RECENT: &[&str] = &[
    "today", "today's", "tonight", "right now", "currently", "current", "latest", "newest",
    "recent", "recently", "at the moment", "this week", "this weekend", "this month",
    "this morning", "this quarter", "this year", "last night", "yesterday", "last week",
    "next friday", "up-to-date", "as of", "ongoing", "next", "newer", "heute", "gerade",
    "aktuell*", "derzeit*", "neueste", "neuesten", "neues", "gestern", "momentan", "diese woche",
    "dieses jahr", "neuen", "neuer", "aujourd'hui", "aujourd", "actuel*", "dernier*", "dernières",
    "en ce moment", "hier", "hoy", "ahora", "actual", "últim*", "ayer", "oggi", "ultim*", "adesso",
    "ieri", "hoje", "agora", "atual", "vandaag", "nu", "laatste", "gisteren", "dziś", "dzisiaj",
    "teraz", "wczoraj", "bugün", "şimdi", "son", "dün", "сегодня", "сейчас", "последн*", "вчера",
    "今天", "现在", "最新", "今日", "現在",
];

/// Changes from day to day.
#[rustfmt::skip]
pub(super) const WEB_CHANGES: &[&str] = &[
    "weather", "news", "headlines", "price", "prices", "stock", "exchange rate", "interest rate*",
    "version", "release*", "score", "match", "won", "open", "opening hours", "flights", "ticket*",
    "trending", "bitcoin", "prime minister", "president", "ceo", "election*", "trains", "train",
    "cve", "analysts", "announcements", "reviews", "down", "cost", "worth", "come out", "in force",
    "negotiations", "papers", "filings", "happened", "cancelled", "metro", "speaking", "wetter",
    "nachrichten", "kostet", "preis*", "kurs", "dax", "version", "gewonnen", "fährt",
    "stromtarif*", "tarife", "förderung", "politik", "zahlen", "stand der", "steht der",
    "temps fait", "temps", "cours", "actualités", "prix", "tiempo", "dólar", "noticias", "precio*",
    "tempo fa", "notizie", "prezz*", "cotação", "preço*", "notícias", "weer", "nieuws", "prijs",
    "pogoda", "wiadomości", "cena", "hava", "haber*", "fiyat*", "погода", "новост*", "курс",
    "цен*", "天气", "新闻", "股价", "天気", "ニュース", "株価",
];
