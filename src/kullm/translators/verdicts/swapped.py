"""The wrong row: a translation that stands beside a text that it does not translate.

Length, numbers and lines find some of these; words find most of the others. Where a pair of languages has a list of
common words, a text with several of them must show translations of some. A list names stems, each with the stems that
translate it. It was written by hand from what instructions are usually about and need not be complete: a word that is
not in it says nothing.
"""

from __future__ import annotations

import re
from functools import cache

_EN_KO = """
address 주소|해결|다루|연설; adjective 형용사; advantage 장점|이점|유리; advice 조언|충고; age 나이|연령|시대|세|살
algorithm 알고리즘; analysis 분석; analyze 분석; animal 동물; answer 답; antonym 반의어|반대
app 앱|애플리케이션|어플; array 배열|다양; arrive 도착; art 예술|미술|아트; article 기사|글|문서|논문|게시
artificial 인공; author 작가|저자|작성자|지은이|글쓴이; available 이용|있|가능|구할; avoid 피하|방지|회피|피해
beautiful 아름다|예쁜|멋진; benefit 이점|혜택|장점|이익|유익|효과|좋은; best 최고|가장|최선|제일|최상|최적|베스트|잘
big 큰|크|빅|대; biology 생물; birthday 생일; black 검은|검정|블랙|흑; blog 블로그; blue 파란|푸른|블루|파랑|청|파랗
body 몸|신체|본문|육체|바디; book 책|도서|권|서적|예약; boy 소년|남자|보이|아들; brain 뇌|브레인
brief 간단|간략|짧|브리프; build 만들|구축|짓|건설|세우; business 비즈니스|사업|기업|업체|업무; buy 구매|사|구입|샀
calculate 계산|구하|산출; caption 캡션|자막|문구|설명; car 자동차|차량|차를|차가|차는|차의|승용차|카; cat 고양이|캣
categorize 분류|구분; category 카테고리|범주|분류|부문; cause 원인|일으|이유|야기|유발
challenge 도전|과제|어려|문제|챌린지; change 변화|바꾸|바뀌|변경|달라|바꿔; character 캐릭터|인물|문자|성격|글자
chat 채팅|대화|챗; chemical 화학; child 아이|어린이|아동|자녀|자식; children 아이|어린이|아동|자녀
choice 선택|객관식; choose 고르|골라|택; city 도시|시내|시티|시의|시는; classify 분류|구분; climate 기후
close 닫|가까|친|마감; code 코드|부호; coffee 커피; color 색|컬러; column 열|칼럼|컬럼|기둥
comment 댓글|의견|코멘트|논평|주석; common 흔한|공통|일반|흔히|공동|보통; communication 소통|커뮤니케이션|통신
community 커뮤니티|공동체|사회; company 회사|기업|업체; compare 비교|대조; computer 컴퓨터|컴퓨팅|전산
cons 단점|반대; contrast 대조|대비|비교; conversation 대화|회화; convert 변환|바꾸|전환|바꿔|바꾼|고치
cook 요리|조리|쿡|굽|끓; correct 올바|맞|정확|수정|교정|고치|고쳐|정정; cost 비용|가격|원가|들
country 국가|나라|시골|컨트리; create 만들|만드|작성|생성|창작|제작|창조|조성; culture 문화
customer 고객|손님|소비자; data 데이터|자료; day 날|일|하루; decide 결정|판단|정하; decision 결정|판단|의사
decrease 감소|줄|낮; define 정의; definition 정의|뜻; delivery 배달|배송|전달; describe 설명|묘사|기술|서술
design 디자인|설계; determine 결정|판단|확인|판별|파악|알아; develop 개발|발달|발전; development 개발|발달|발전
device 장치|기기|디바이스|단말; dialogue 대화|대사; difference 차이|다른|차별|다르
different 다른|다양|다르|서로|차이|다릅; difficult 어려|힘든|곤란; digital 디지털; dinner 저녁|식사|디너|만찬
disadvantage 단점|불리; discount 할인; disease 질환|병; doctor 의사|박사|닥터|병원; document 문서|서류|도큐먼트
dog 개|강아지|반려견; earth 지구|땅|대지; easy 쉬운|쉽|간단|이지|용이|편한; economic 경제; economy 경제
education 교육|학력; effect 효과|영향|결과; email 메일; emotion 감정|정서|감성|이모션
employee 직원|사원|종업원|근로자; end 끝|종료|마지막|결말; energy 에너지; english 영어|영문|잉글리시|영국
environment 환경; environmental 환경; equation 식; error 오류|에러|실수|잘못; essay 에세이|글|논술|수필
evaluate 평가; event 이벤트|행사|사건|일정; example 예시|예를|예제|예입|예:|예가|예는|사례|보기
exercise 운동|연습|훈련; experience 경험|체험|경력|느끼; explain 설명|해설; eye 눈|시선
face 얼굴|직면|페이스|맞닥|표정; fall 가을|떨어|넘어|하락|빠지; false 거짓|틀린|허위|틀렸; family 가족|가정|패밀리
famous 유명; father 아버지|아빠|부친; fear 두려|공포|무서; feature 기능|특징|특성; feedback 피드백|의견
feel 느끼|느낌|기분|느껴|든다; feeling 감정|느낌|기분|느끼; file 파일|서류; find 찾|발견|구하|알아|검색; flower 꽃
food 음식|식품|먹|요리|식량; formal 격식|공식|정식|형식; format 형식|포맷|서식|양식; free 무료|자유|프리|공짜|없
french 프랑스|불어; friend 친구|벗|친한; friendly 친근|친절|우호|친화|친한|친환경; fun 재미|즐거|재밌|놀이
function 함수|기능; funny 웃|재미|유머|코믹; game 게임|경기; general 일반|전반|장군|대략
generate 생성|만들|창출|발생|작성; genre 장르; girl 소녀|여자|걸|딸; give 주|알려|제시|제공|드|줘|들어; goal 목표|골
good 좋|훌륭|잘|선|맛|굿; government 정부; grammar 문법|어법; great 훌륭|큰|좋|멋|대|그레이트
green 녹색|초록|그린|친환경|푸른; group 그룹|집단|단체|무리|모임; grow 자라|성장|키우|재배|늘
guide 가이드|안내|지침|설명; hair 머리|헤어|털; hand 손|직접|수; happy 행복|기쁜|즐거|기뻐|해피
hard 어려|힘|열심|단단|하드|딱딱; hashtag 해시태그; headline 헤드라인|제목|표제; health 건강|보건|의료|헬스
healthy 건강; heart 심장|마음|하트|가슴; help 도움|돕|도와|도울|도우; history 역사|이력|기록
holiday 휴일|휴가|명절|연휴|공휴; home 집|홈|가정|주택|고향; hotel 호텔|숙소; house 집|주택|하우스|숙소
human 인간|사람|인류|인적; idea 아이디어|생각|발상|의견; identify 식별|찾|파악|확인|밝혀|알아
image 이미지|사진|그림|영상; important 중요|주요; improve 개선|향상|높|발전; increase 증가|늘|높|향상|올리
information 정보|자료|안내; ingredient 재료|성분; input 입력|인풋|투입; instruction 지시|설명|지침|안내|명령|사용법
intelligence 지능|정보; interesting 흥미|재미; international 국제; internet 인터넷; interview 인터뷰|면접
island 섬|아일랜드; job 직업|일자리|작업|업무|직무|직장|일을|구직|채용; joke 농담|유머|조크
key 핵심|키|열쇠|주요|중요; keyword 키워드|핵심어; king 왕|킹|세종; know 알|아는|모르; korean 한국|한글|코리아
language 언어|말|어로|랭귀지; large 큰|대형|대규모|크|많|넓; law 법|로스쿨; leader 리더|지도자|대표
learn 배우|배울|배운|학습|알아|익|러닝; leave 떠나|남|두고|출발|휴가; letter 편지|글자|문자|서한|레터
life 삶|생활|인생|생명|일상|수명; light 빛|가벼운|조명|라이트|밝|불|전등|햇; like 좋아|처럼|같|싶|마음|비슷
link 링크|연결|고리; list 목록|리스트|나열|열거; live 살|라이브|거주|사는|생활; local 지역|현지|로컬|국소
long 긴|오래|길|장기|오랜; loop 루프|반복|고리; love 사랑|좋아|러브|애정; machine 기계|머신|장치
main 주|메인|본|핵심|중심|요점; make 만들|만드|하|제작; man 남자|남성|사람|사내|맨; manage 관리|운영|경영
management 관리|경영|운영; market 시장|마켓|마케팅; marketing 마케팅; math 수학|산수|계산; mathematics 수학
mean 의미|뜻|말|평균; meaning 의미|뜻; media 미디어|매체|언론; medical 의료|의학; medicine 약|의학
meet 만나|충족|만났|부합; meeting 회의|모임|미팅|만남; member 회원|구성원|멤버|일원; men 남자|남성|사람
message 메시지|문자|메세지; method 방법|방식|메서드|메소드|기법; mind 마음|정신|생각|염두; mistake 실수|잘못|오류
model 모델|모형; money 돈|금전|자금|화폐|비용; month 달|월; moon 달; morning 아침|오전|새벽; mother 어머니|엄마|모친
mountain 산|마운틴; move 이동|움직|이사|옮기; movie 영화; music 음악|뮤직; name 이름|명|네임|이라|라는|라고
national 국가|국립|전국|민족; need 필요|요구|해야|니즈|욕구; negative 부정|음수|음성|음의; network 네트워크|망
new 새|뉴|신|처음; night 밤|저녁|야간; noun 명사; novel 소설|새로운; number 숫자|수|번호; ocean 바다|해양|대양
old 오래|늙|옛|나이|살|세|구; online 온라인; open 열|개방|오픈|개설; opinion 의견|견해; opposite 반대
option 옵션|선택|보기|방안; order 주문|순서|명령|질서|오더|위해; output 출력|결과|아웃풋|산출; page 페이지|쪽
paper 논문|종이|페이퍼|용지|신문; paragraph 단락|문단; parent 부모|육아; party 파티|잔치|당; patient 환자|참을
pay 지불|결제|급여|내|돈; peace 평화; people 사람|이들|인간|국민|분들; person 사람|인물|인칭|인간|개인
personal 개인|사적|퍼스널; phone 전화|폰; phrase 구절|문구|표현|구를|구문|구가; physics 물리
picture 사진|그림|이미지; plan 계획|플랜|요금제; planet 행성|지구; plant 식물|공장|심|발전소
play 놀|연주|재생|경기|연극|플레이|하; plot 줄거리|플롯|음모|그래프|구성; poem 시|싯; polite 정중|공손|예의
political 정치; politics 정치; pollution 오염; popular 인기|대중|유명; positive 긍정|양수|양성|양의
possible 가능|될 수 있; post 게시|포스트|글|올리|포스팅; potential 잠재|가능성|전위; power 전력|힘|권력|파워|능력
president 대통령|회장|사장; prevent 예방|막|방지; price 가격|요금|값|물가; privacy 개인정보|사생활|프라이버시
private 개인|비공개|사적|사립|민간; problem 문제; process 과정|프로세스|처리|절차|공정
product 제품|상품|생산물|프로덕트; professional 전문|프로|직업; program 프로그램|프로그래밍|강좌
project 프로젝트|사업|과제; pros 장점|찬성|장단점; protect 보호|지키|막; provide 제공|제시|알려|주|드립
public 공공|대중|공개|공적; query 쿼리|검색어|질의|질문|문의; question 질문|문제|물음|묻|문의
quote 인용|명언|견적|문구; read 읽|독서; reason 이유|까닭|사유|근거|추론; recipe 레시피|요리법|조리법
recommend 추천|권; red 빨간|붉은|레드|빨강|적|빨갛; reduce 줄|감소|절감|낮|축소; relationship 관계|연애|사이
religion 종교; report 보고|리포트|신고; research 연구|조사|리서치; restaurant 식당|레스토랑|음식점; result 결과|성과
resume 이력서; review 리뷰|검토|후기|평가|복습; rewrite 다시|고쳐|재작성|바꿔|수정; riddle 수수께끼; river 강
role 역할|배역; row 행|줄|열; run 실행|달리|뛰|운영|달려; sad 슬픈|슬프|슬퍼|우울; sale 판매|세일|할인|매출
school 학교|학년|교육; science 과학|사이언스; sea 바다|해; search 검색|찾|탐색|수색; section 섹션|부분|절|구역
security 보안|안전|경비|안보; select 선택|고르|골라; sell 판매|팔|매도; sentence 문장|문구; sentiment 감정|감성|정서
service 서비스|봉사|용역; short 짧|간략|단|부족|반; similar 비슷|유사|닮; simple 간단|단순|쉬운|심플|쉽
situation 상황|경우|처지; size 크기|사이즈|규모; skill 기술|능력|스킬|실력; sky 하늘; sleep 수면|잠|자|잤
slogan 슬로건|표어|구호; small 작|소|조금; social 사회|소셜|사교; software 소프트웨어
solution 해결|솔루션|방안|해법|용액; solve 풀|해결|해를; song 노래|곡|송; sound 소리|들리|사운드|음
space 공간|우주|스페이스|띄어쓰기; spanish 스페인|에스파냐; speak 말|연설|발언; special 특별|특수|스페셜
specific 특정|구체|특별; spelling 철자|맞춤법|스펠링; spring 봄|용수철|스프링; star 별|스타|항성
start 시작|출발|착수; statement 진술|문장|명제|성명|말|설명|서술; step 단계|걸음|절차|스텝
stop 멈|중지|그만|정지|중단; store 가게|매장|상점|저장|스토어; story 이야기|스토리|소설|사연; strategy 전략
string 문자열|끈|줄|스트링; student 학생|대학원생|수강생; study 공부|연구|학습|스터디
subject 주제|제목|과목|주어|대상; suggest 제안|추천|권|제시; summarize 요약|정리; summary 요약|개요
summer 여름|하계; sun 태양|햇|해가|해는|선; support 지원|지지|후원|뒷받침|지탱; synonym 동의어|유의어|비슷|대체
system 시스템|체계|제도|체제; table 표|테이블|탁자|식탁|목차; talk 말|이야기|대화|얘기; task 작업|과제|과업|업무|일
teacher 교사|선생|강사; team 팀; technique 기술|기법|방법|테크닉; technology 기술|테크; tell 말|알려|이야기|전하
temperature 온도|기온; tense 시제; text 텍스트|글|본문|문자|지문; think 생각|사고
time 시간|시기|때|번|시대|시점|타임; title 제목|타이틀|명칭|직함; today 오늘|현재|요즘; tomorrow 내일
tool 도구|툴|공구; topic 주제|토픽|화제; translate 번역|옮기; translation 번역|통역; travel 여행|이동|트래블
tree 나무|트리; trip 여행|출장|관광|트립; true 참|사실|진실|맞|진정; tweet 트윗|트위터; type 종류|타입|형|입력
understand 이해|알; use 사용|이용|활용|쓰|쓸|용도; user 사용자|유저|이용자|회원; vacation 휴가|방학
value 값|가치|밸류; variable 변수; verb 동사; video 비디오|영상|유튜브; visit 방문|찾|관람
voice 목소리|음성|보이스|음색; walk 걷|산책|걸어|도보; want 원하|싶|바라|원합; war 전쟁|워
water 물|수분|해수|수자원; weather 날씨|기상; website 사이트|홈페이지|웹; wedding 결혼|웨딩; week 주
white 흰|하얀|백|화이트; winter 겨울|동계; woman 여성|여자|여인|부인; women 여성|여자; word 단어|말|워드
work 일|작업|작품|업무|근무|직장|작동; world 세계|세상|월드; write 쓰|써|작성|적|쓴|기술|집필
year 년|해|연도|살|연간|세; young 젊|어린|청소년|영
"""
_LISTS = {("en", "ko"): _EN_KO}
_USUAL = {("en", "ko"): (0.33, 0.75)}
"""The ratio of characters of 95 in 100 texts; outside of it nothing is wrong yet."""

_HIT, _MISS, _KEPT, _ODDITY, _PROOF = 1.8, -1.5, 2.5, -1.2, -3.5
"""Logarithms: how much likelier a true pair is than a wrong one by what was seen, and where a wrong one is proved."""

_WORD = re.compile(r"[a-z]{3,}")
_LATIN = re.compile(r"[A-Za-z]{2,}")
_DIGITS = re.compile(r"\d+")
_SENTENCE = re.compile(r"[.!?。！？](?=\s|\Z)")
_PAIRED = '"([{“'


def has_common_word(text: str, languages: tuple[str, str]) -> bool:
    """Whether `text` has a word of the list, which then has a translation."""
    forms, _ = _known(languages)
    return any(word in forms for word in _WORD.findall(text.lower()))


def swapped(source: str, target: str, languages: tuple[str, str]) -> str | None:
    """Why `target` cannot be a translation of `source`, or None. Both without white space around them."""
    forms, stems = _known(languages)
    wanted = {forms[word] for word in forms.keys() & set(_WORD.findall(source.lower()))} if forms else ()
    clear = _PROOF - 4 * _ODDITY
    enough = (clear - len(wanted) * _MISS) / (_HIT - _MISS)
    hits = 0
    for entry in wanted:
        for stem in stems[entry]:
            if stem in target:
                hits += 1
                if hits > enough:  # whatever the other words are
                    return None
                break
    weight = hits * _HIT + (len(wanted) - hits) * _MISS
    if weight > clear:
        return None
    weight += _KEPT * _kept(source, target)
    odd = _oddities(source, target, languages)
    if weight + len(odd) * _ODDITY > _PROOF:
        return None
    words = [f"of {len(wanted)} common words {hits} found"] if wanted else []
    return "; ".join(words + odd)


@cache
def _known(languages: tuple[str, str]) -> tuple[dict[str, int], list[list[str]]]:
    """The list of a pair of languages: every form of a word to its entry, and the stems of each entry."""
    entries = [entry.split(" ", 1) for entry in re.split(r";\s|\n", _LISTS.get(languages, "").strip()) if entry]
    forms = {word: number for number, (word, _) in enumerate(entries)}
    for number, (word, _) in enumerate(entries):
        bare = word[:-1] if word[-1] in "ey" else word
        for form in (word + "s", word + "es", word + "ed", word + "ing", bare + "ed", bare + "ing", bare + "ies"):
            forms.setdefault(form, number)
    return forms, [stems.split("|") for _, stems in entries]


def _kept(source: str, target: str) -> int:
    """How many long numbers and Latin words stand in both."""
    numbers = {number for number in _DIGITS.findall(target) if len(number) > 1}
    words = set(_LATIN.findall(target))
    return len(numbers.intersection(_DIGITS.findall(source))) + len(words.intersection(_LATIN.findall(source)))


def _oddities(source: str, target: str, languages: tuple[str, str]) -> list[str]:
    """What is unlikely of a translation, each for itself no proof."""
    odd: list[str] = []
    low, high = _USUAL.get(languages, (0.0, 99.0))
    if len(source) >= 30 and not low < len(target) / len(source) < high:
        odd.append(f"ratio {len(target) / len(source):.2f}")
    if ("?" in source) != ("?" in target or "？" in target):
        odd.append("only one of them asks")
    if languages[1] in ("ko", "ja", "zh", "ru", "ar", "th", "hi"):
        there = source.lower()
        odd += [f"{word} is new" for word in _LATIN.findall(target)[:9] if word.lower() not in there][:1]
    numbers = (number for number in _DIGITS.findall(target)[:9] if len(number) > 1)
    odd += [f"{number} is new" for number in numbers if number not in source][:1]
    if abs(len(_SENTENCE.findall(source)) - len(_SENTENCE.findall(target))) > 1:
        odd.append("other sentences")
    if any((sign in source) != (sign in target) for sign in _PAIRED):
        odd.append("other quotes or brackets")
    if (":" in source) != (":" in target or "：" in target):
        odd.append("only one has a colon")
    return odd
